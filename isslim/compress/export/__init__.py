"""ONNX files: written tensor by tensor, and in 8 bits."""
