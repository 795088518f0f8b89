"""An opened bundle: how a text becomes tokens, how a graph scores them, and how long that takes.

The worker verifies and measures through this package and the service answers through it, so that what is proven is
what is served. It knows ONNX Runtime, and nothing of torch, HTTP or how a model was made.
"""
