"""The pieces of `isslim/compress/export/export.py`: what every scoring graph shares, and one module for each kind of network."""
