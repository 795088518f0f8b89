"""What `python -m isslim.compress` can be told to do, one module a command."""
