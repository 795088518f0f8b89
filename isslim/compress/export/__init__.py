"""Writes ONNX files, tensor by tensor, in float32 and in int8."""
