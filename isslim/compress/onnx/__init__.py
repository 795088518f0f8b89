"""ONNX graphs of any origin: read, normalised, traced, measured, and written at other sizes."""
