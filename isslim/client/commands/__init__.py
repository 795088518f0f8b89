"""The commands of `isslim`, a module for each subject; `isslim/client/cli.py` assembles them."""
