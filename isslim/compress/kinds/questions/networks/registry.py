"""The architectures of question answering, from the sizes that were saved to a network."""

from __future__ import annotations

from typing import Any

from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.types.network_spec import NetworkSpec

ARCHITECTURES: tuple[str, ...] = (Bidaf.architecture,)
"""Names in a manifest."""


def build_spec(saved: NetworkSpec) -> Bidaf:
    """A network of sizes that were saved (`isslim/compress/training/saved_network.py`).

    Raises:
        TypeError: when the sizes are not those of the architecture.
    """
    sizes: dict[str, Any] = dict(saved.spec)
    return Bidaf(BidafSpec(**sizes))
