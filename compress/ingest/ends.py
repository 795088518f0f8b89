"""Which of a checkpoint's matrices is the embedding and which the decoder: by their names, and by what fits the layers."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class EndsUnknown(ValueError):
    """Embedding and decoder cannot be told."""


def find_ends(
    matrices: dict[str, Floats], bottom: int, top: int, told: bool | None
) -> tuple[str | None, str | None, bool]:
    """Names of decoder and embedding, and whether they are one matrix.

    Args:
        matrices: the parameters of no layer, by name, (rows, columns).
        bottom: values that the first layer reads.
        top: values that the decoder reads.
        told: whether the config says tied; None: it says nothing.

    Returns:
        A name is None where there is no such matrix: of the decoder of a tied model, of the embedding with one-hot input.

    Raises:
        EndsUnknown: when several matrices could be meant, or none is there.
    """
    inward = re.compile(r"emb|encoder|lookup|token|wte|vocab", re.IGNORECASE)
    outward = re.compile(r"decoder|fc|linear|proj|out|classif|head|softmax|hidden2|lang|lm_", re.IGNORECASE)
    embeddings = [name for name in matrices if matrices[name].shape[1] == bottom and inward.search(name)]
    decoders = [name for name in matrices if matrices[name].shape[1] == top and outward.search(name)]
    embeddings = [name for name in embeddings if name not in decoders] or embeddings
    embeddings, decoders = (_distinct(matrices, names) for names in (embeddings, decoders))
    if not embeddings and len(matrices) == 2 and len(decoders) == 1:
        embeddings = [name for name in matrices if name not in decoders and matrices[name].shape[1] == bottom]
    if len(embeddings) > 1 or len(decoders) > 1:
        raise EndsUnknown(f"several matrices could be the embedding ({embeddings}) or the decoder ({decoders})")
    embedding = embeddings[0] if embeddings else None
    decoder = decoders[0] if decoders else None
    if embedding is not None and decoder is not None and embedding == decoder:
        decoder = None
    if decoder is None and embedding is None:
        raise EndsUnknown("there is neither an embedding nor a decoder")
    if decoder is None:
        if told is False:
            raise EndsUnknown("the config says untied, but there is no decoder")
        return None, embedding, True
    if embedding is None:
        return decoder, None, False
    equal = matrices[embedding].shape == matrices[decoder].shape and np.array_equal(
        matrices[embedding], matrices[decoder]
    )
    if told and not equal:
        raise EndsUnknown("the config says tied, but embedding and decoder differ")
    return decoder, embedding, equal if told is None else told


def _distinct(matrices: dict[str, Floats], names: list[str]) -> list[str]:
    """The names without those of a matrix that an earlier one names."""
    return [
        name
        for index, name in enumerate(names)
        if not any(np.array_equal(matrices[name], matrices[earlier]) for earlier in names[:index])
    ]
