"""The HTTP service: scores texts with original and compressed models, and takes uploads for the worker. No torch."""
