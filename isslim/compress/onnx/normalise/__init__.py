"""Rewrites ONNX files of any origin into equivalent graphs that are simple to trace."""
