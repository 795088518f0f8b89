"""Finds embedding and decoder among a checkpoint's matrices, by names and by shapes.

Nothing that is missing is invented: a missing decoder is the embedding only where the config or the
file itself declares it, and input without an embedding is one-hot only then.

Legend: V vocabulary, E embedding width, H what the decoder reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_INWARD = re.compile(r"emb|encoder|lookup|token|wte|vocab", re.IGNORECASE)
_OUTWARD = re.compile(
    r"decoder|fc|linear|proj|out|classif|head|softmax|hidden2|lang|lm_|logit|output|final",
    re.IGNORECASE,
)
_PARTS = re.compile(
    r"(^|[._])(tails?|clusters?|out_layers)[._]\d|cluster_(weight|bias)|adaptive", re.IGNORECASE
)


class EmbeddingOrDecoderUnknown(ValueError):
    """Embedding and decoder are ambiguous, or one is missing."""


@dataclass(frozen=True)
class EmbeddingAndDecoder:
    """Names of the embedding's and the decoder's parameters.

    Attributes:
        embedding: the name of its matrix (V, E); None with one-hot input.
        decoder: the name of its matrix (V, H); None where it is the embedding.
        bias: the name of the decoder's bias (V); None without one.
        tied: whether embedding and decoder are one matrix.
        why: what declares them tied, where not both are in the file.
    """

    embedding: str | None
    decoder: str | None
    bias: str | None
    tied: bool
    why: str = ""


@dataclass(frozen=True)
class EndHints:
    """What config and file declare about embedding and decoder.

    Attributes:
        tied: whether the config declares them tied; None: it does not say.
        tied_by: where the file itself declares them tied; empty: nowhere.
        one_hot: whether the config declares that there is no embedding; None: it does not say.
        spelled: whether the file holds a vocabulary of as many tokens as the first layer reads
            values.
    """

    tied: bool | None = None
    tied_by: str = ""
    one_hot: bool | None = None
    spelled: bool = False


def find_embedding_and_decoder(
    matrices: dict[str, Floats],
    vectors: dict[str, Floats],
    bottom: int,
    top: int,
    hints: EndHints,
) -> EmbeddingAndDecoder:
    """Finds embedding, decoder and its bias.

    Args:
        matrices: the parameters of no layer, by name, (rows, columns).
        vectors: those of one dimension.
        bottom: number of values that the first layer reads.
        top: number of values that the decoder reads.
        hints: what config and file declare.

    Raises:
        EmbeddingOrDecoderUnknown: when a matrix is missing, several could be meant, or the decoder
            is in parts.
    """
    if parts := [name for name in (*matrices, *vectors) if _PARTS.search(name)]:
        raise EmbeddingOrDecoderUnknown(
            f"{', '.join(parts[:4])}: this is an adaptive softmax or another decoder in parts, "
            f"where one matrix (V, {top}) is "
            "expected"
        )
    tied, one_hot = hints.tied, hints.one_hot
    embedding, decoder = _by_name(matrices, vectors, bottom, top)
    why = "config" if tied else hints.tied_by
    both = embedding is not None and decoder is not None
    if one_hot and embedding is not None and (both or tied):
        raise EmbeddingOrDecoderUnknown(
            f"the config says one-hot input, but there is an embedding, '{embedding}'"
        )
    if not both and why and (embedding or decoder) is not None and not one_hot:
        only = str(embedding or decoder)
        return EmbeddingAndDecoder(
            only, None, _bias(None, vectors, len(matrices[only])), tied=True, why=why
        )
    if decoder is None:
        raise EmbeddingOrDecoderUnknown(_no_decoder(embedding, matrices, vectors, top, tied=tied))
    bias = _bias(decoder, vectors, len(matrices[decoder]))
    if embedding is None:
        if one_hot or (one_hot is None and hints.spelled):
            return EmbeddingAndDecoder(None, decoder, bias, tied=False)
        raise EmbeddingOrDecoderUnknown(
            f"the embedding is missing: a matrix ({len(matrices[decoder])}, {bottom}) such as "
            "embedding.weight"
            + _narrower(matrices, bottom, _INWARD, _OUTWARD, f"the first layer reads {bottom}")
            + (
                '. If the first layer reads one-hot vectors, say so in the config: {"one_hot": '
                "true}"
                if one_hot is None
                else ""
            )
        )
    equal = matrices[embedding].shape == matrices[decoder].shape and np.array_equal(
        matrices[embedding], matrices[decoder]
    )
    if tied and not equal:
        raise EmbeddingOrDecoderUnknown("the config says tied, but embedding and decoder differ")
    if len(matrices[embedding]) != len(matrices[decoder]):
        raise EmbeddingOrDecoderUnknown(
            f"this is no language model: '{decoder}' gives {len(matrices[decoder])} values, where "
            f"'{embedding}' has a row for "
            f"each of {len(matrices[embedding])} tokens (a classifier or a tagger?)"
        )
    return EmbeddingAndDecoder(embedding, decoder, bias, tied=equal if tied is None else tied)


def _by_name(
    matrices: dict[str, Floats], vectors: dict[str, Floats], bottom: int, top: int
) -> tuple[str | None, str | None]:
    """Embedding and decoder by their names; a single matrix whose name fits both is the embedding.

    Where names do not tell, a bias does: a linear layer has one entry for each row, an embedding
    has none. A square matrix is not taken for the decoder then: it may be any layer in between.

    Raises:
        EmbeddingOrDecoderUnknown: when several could be either.
    """
    inward = [
        name
        for name in matrices
        if matrices[name].shape[1] == bottom and _says(name, _INWARD, _OUTWARD)
    ]
    outward = [
        name
        for name in matrices
        if matrices[name].shape[1] == top and _says(name, _OUTWARD, _INWARD)
    ]
    inward = [name for name in inward if name not in outward] or inward
    inward, outward = (_distinct(matrices, names) for names in (inward, outward))
    if not outward:
        outward = [
            name for name in matrices
            if name not in inward and matrices[name].shape[1] == top != len(matrices[name])
            and _bias(name, vectors, len(matrices[name]))
            and all(len(matrices[name]) == len(matrices[other]) for other in inward)
        ]  # fmt: skip
    if not inward and len(matrices) == 2 and len(outward) == 1:
        inward = [
            name
            for name in matrices
            if name not in outward
            and matrices[name].shape[1] == bottom
            and not _bias(name, vectors, len(matrices[name]))
        ]
    if len(inward) > 1 or len(outward) > 1:
        raise EmbeddingOrDecoderUnknown(
            f"several matrices could be the embedding ({inward}) or the decoder ({outward})"
        )
    embedding, decoder = (names[0] if names else None for names in (inward, outward))
    return embedding, None if embedding == decoder else decoder


def _says(name: str, meant: re.Pattern[str], other: re.Pattern[str]) -> bool:
    """Whether a name fits: its last module, or the whole name where that fits neither pattern."""
    last = name.removesuffix(".weight").rpartition(".")[2]
    module = last if meant.search(last) or other.search(last) else name
    return meant.search(module) is not None


def _no_decoder(
    embedding: str | None,
    matrices: dict[str, Floats],
    vectors: dict[str, Floats],
    top: int,
    *,
    tied: bool | None,
) -> str:
    """The message on a missing decoder: why, and what to do."""
    if embedding is None:
        names = list(matrices)[:2] if len(matrices) > 1 else ["NAME", "OTHER"]
        return (
            "there is neither an embedding nor a decoder by the names of the matrices. If they are "
            "there, say in the config "
            f'which they are: {{"rename": {{"{names[0]}": "embedding.weight", "{names[1]}": '
            f'"decoder.weight"}}}}'
        )
    rows = len(matrices[embedding])
    bias = _bias(None, vectors, rows)
    there = "" if bias is None else f" (its bias '{bias}' is there)"
    narrower = _narrower(matrices, top, _OUTWARD, _INWARD, f"the top layer gives {top} values")
    there += narrower
    if tied is False:
        return f"the config says untied, but there is no decoder{there}"
    unnamed = [
        name
        for name, matrix in matrices.items()
        if name != embedding and matrix.shape == (rows, top)
    ]
    if len(unnamed) == 1:
        return (
            f"no matrix is the decoder by its name. If it is '{unnamed[0]}', say so in the config: "
            f'{{"rename": {{"{unnamed[0]}": "decoder.weight"}}}}'
        )
    if matrices[embedding].shape[1] != top or narrower:
        return f"the decoder's matrix ({rows}, {top}) is missing{there}"
    return (
        f"the decoder's matrix ({rows}, {top}) is missing{there}. If the decoder is the embedding "
        "(tied), say so in the config: "
        '{"tied": true}'
    )


def _narrower(
    matrices: dict[str, Floats],
    width: int,
    meant: re.Pattern[str],
    other: re.Pattern[str],
    wanted: str,
) -> str:
    """A clause on every matrix whose name fits and whose width does not."""
    wrong = [
        name
        for name, matrix in matrices.items()
        if matrix.shape[1] != width and _says(name, meant, other)
    ]
    return "".join(f"; '{name}' is {matrices[name].shape}, and {wanted}" for name in wrong[:3])


def _bias(decoder: str | None, vectors: dict[str, Floats], rows: int) -> str | None:
    """The bias of the decoder's module.

    Without a decoder it is the only bias of V entries in a module with a decoder's name.
    """
    if decoder is not None:
        name = "bias".join(decoder.rsplit("weight", 1))
        return (
            name if name != decoder and name in vectors and vectors[name].shape == (rows,) else None
        )
    fitting = [
        name
        for name in vectors
        if vectors[name].shape == (rows,)
        and re.search(r"(^|[._])bias$", name)
        and _says(name, _OUTWARD, _INWARD)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _distinct(matrices: dict[str, Floats], names: list[str]) -> list[str]:
    """The names without those of a matrix equal to one that was named before."""
    return [
        name
        for index, name in enumerate(names)
        if not any(np.array_equal(matrices[name], matrices[earlier]) for earlier in names[:index])
    ]
