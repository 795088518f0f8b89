"""Compresses recurrent networks: ingest, find structure, prune and repair, export, verify, measure."""

import runtime as runtime  # before ONNX Runtime is: see there
