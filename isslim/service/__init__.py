"""The HTTP service: runs original and compressed models, takes uploads for the worker. No torch."""
