"""An ONNX graph as a torch network that can be trained."""
