"""An opened bundle: how a text becomes tokens, how a graph scores them, and how long that takes.

The worker verifies and measures through this package and the service answers through it, so that
what is proven is what is served. It knows ONNX Runtime, and nothing of torch, HTTP or how a model
was made.

Importing it comes before importing ONNX Runtime, whose releases since 1.29 tell their maker of
every model that is opened (name of the file, hashes of graph and weights) unless the environment
says no before they are loaded.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
