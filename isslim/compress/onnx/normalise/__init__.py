"""From a stranger's ONNX file to an equal graph that is simple to follow."""
