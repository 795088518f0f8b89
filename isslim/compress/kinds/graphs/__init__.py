"""ONNX graphs of any origin, evaluated by how much their outputs change."""
