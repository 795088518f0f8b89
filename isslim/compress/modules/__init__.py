"""Modules of the user's own class: exported to ONNX, and made small in place."""
