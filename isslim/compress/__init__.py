"""Compresses recurrent networks: ingest, search, prune, repair, export, verify, measure."""

from isslim import runtime as runtime  # before ONNX Runtime is: see there
