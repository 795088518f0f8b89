"""The Open Inference Protocol v2: models as graphs of tensors, over HTTP and gRPC."""
