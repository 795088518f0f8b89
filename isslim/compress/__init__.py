"""Compresses recurrent networks: ingest, find structure, prune and repair, export, verify, measure."""

from isslim import runtime as runtime  # before ONNX Runtime is: see there
