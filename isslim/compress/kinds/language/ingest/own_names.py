"""What layouts of this project's own names share: is a model tied, and what it is refused with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.language.networks.names import DECODER_WEIGHT, EMBEDDING_WEIGHT

Floats = NDArray[np.float32]


class TyingUnknown(ValueError):
    """Whether embedding and decoder are one matrix cannot be told, or the config contradicts."""


def is_tied(arrays: dict[str, Floats], configured: bool | None, declared_by: str) -> bool:
    """Whether `embedding.weight` is the decoder's matrix too.

    Args:
        arrays: by name, an embedding among them.
        configured: whether the config declares it tied; None: it does not say.
        declared_by: where the file itself declares it tied; empty: nowhere.

    Raises:
        TyingUnknown: when there is no decoder and nothing declares the model tied, or the config
            declares it tied and the matrices differ.
    """
    head = arrays.get(DECODER_WEIGHT)
    equal = head is None or np.array_equal(arrays[EMBEDDING_WEIGHT], head)
    if configured and not equal:
        raise TyingUnknown("the config says tied, but embedding and decoder differ")
    if head is None and not configured and not (declared_by and configured is None):
        reason = (
            "the config says untied, but there is no decoder.weight"
            if configured is False
            else "decoder.weight is missing"
        )
        raise TyingUnknown(
            reason
            + '. If the decoder is the embedding (tied), say so in the config: {"tied": true}'
        )
    return equal if configured is None else configured
