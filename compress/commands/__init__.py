"""What `python -m compress` can be told to do, one module a command."""
