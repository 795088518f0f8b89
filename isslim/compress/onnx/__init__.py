"""Reads, normalises and traces ONNX graphs of any origin, and writes them at other sizes."""
