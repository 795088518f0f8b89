"""What the worker finds on this machine: `python -m isslim.compress.worker.doctor`.

It prints JSON, for `isslim doctor`.
"""

from __future__ import annotations

import sys

import torch

from isslim.compress.devices import device_named
from isslim.types.findings import FINDINGS, Finding


def findings() -> list[Finding]:
    """Where networks are trained, and with what."""
    device = device_named()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    detail = f"{name} (PyTorch {torch.__version__}, {torch.get_num_threads()} threads)"
    return [Finding(subject="device that compresses", state="ok", detail=detail)]


def main() -> None:
    """Prints what was found."""
    sys.stdout.write(FINDINGS.dump_json(findings()).decode() + "\n")


if __name__ == "__main__":
    main()
