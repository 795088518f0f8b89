"""The client side: a typed Python client and the `isslim` command line."""
