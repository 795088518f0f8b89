"""ONNX graphs of any origin, judged by what becomes of their outputs."""
