"""The pieces of `compress/export.py`: what every scoring graph shares, and one module for each kind of network."""
