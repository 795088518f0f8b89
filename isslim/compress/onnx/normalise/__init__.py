"""From an ONNX file of any origin to an equal graph that is simple to follow."""
