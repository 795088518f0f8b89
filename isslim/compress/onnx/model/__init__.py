"""Views of an ONNX model's parts: nodes, attributes, constants, recurrent operators."""
