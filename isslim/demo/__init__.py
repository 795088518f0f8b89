"""The demo, `isslim demo`: a model is trained, compressed and served on this machine."""
