"""Any ONNX graph with recurrent layers: read, understood as named axes, cut, and written smaller."""
