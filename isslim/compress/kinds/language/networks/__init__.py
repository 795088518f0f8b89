"""The architectures that the worker understands, one module each."""
