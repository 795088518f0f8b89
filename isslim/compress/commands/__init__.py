"""The commands of `python -m isslim.compress`, one module each."""
