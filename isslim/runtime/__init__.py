"""An opened bundle: text to tokens, scores by a graph, and their latency.

The worker verifies and measures through this package and the service answers through it, so that
what is proven is what is served. It depends on ONNX Runtime, and not on torch, HTTP or the way a
model was made.

It must be imported before ONNX Runtime, whose releases since 1.29 send telemetry about every opened
model (name of the file, hashes of graph and weights) unless an environment variable forbids it
when they are loaded. The variable is set for that moment only: the environment is the user's.
"""

import os

_SWITCH = "ORT_DISABLE_TELEMETRY"
_given = os.environ.setdefault(_SWITCH, "")
os.environ[_SWITCH] = _given or "1"
try:
    import onnxruntime as onnxruntime
finally:
    if not _given:
        del os.environ[_SWITCH]
