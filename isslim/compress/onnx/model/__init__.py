"""An ONNX model taken apart: nodes, attributes, constants, recurrent operators."""
