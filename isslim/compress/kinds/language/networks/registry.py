"""Architectures by name: from sizes to a spec, from a spec to a network."""

from __future__ import annotations

from typing import Any

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.layers.regularisation import Regularisation
from isslim.types.network_spec import NetworkSpec

Spec = LstmSpec | GruSpec | RhnSpec

NAMES = ("lstm", "gru", "rhn")
_SUFFIX = "-language-model"
ARCHITECTURES = tuple(f"{name}{_SUFFIX}" for name in NAMES)
"""Names in a manifest."""


def spec_of(
    name: str,
    vocabulary: int,
    embedding: int,
    units: tuple[int, ...],
    tied: bool = False,
    depth: int = 1,
) -> Spec:
    """The spec of an architecture.

    Args:
        name: one of `NAMES`, or an `architecture` of the manifest, such as `rhn-language-model`.
        vocabulary: V, tokens.
        embedding: E, its width.
        units: of each layer from the bottom; an RHN has one layer.
        tied: whether the decoder's matrix is the embedding's.
        depth: highway layers of one step, of an RHN only.

    Raises:
        ValueError: when the name is not known or the sizes are not those of such a network.
    """
    short = name.removesuffix(_SUFFIX)
    if short not in NAMES:
        raise ValueError(f"there is no architecture '{name}'; known: {', '.join(NAMES)}")
    if short == "rhn":
        if len(units) != 1:
            raise ValueError(
                f"an RHN has one recurrent layer, not {len(units)}; its depth is given by 'depth'"
            )
        return RhnSpec(vocabulary, embedding, units[0], depth, tied)
    if depth != 1:
        raise ValueError(
            f"'depth' is of an RHN only; the layers of a stacked {short.upper()} are given by "
            "their units"
        )
    if not units:
        raise ValueError(f"a stacked {short.upper()} needs at least one layer")
    kind = LstmSpec if short == "lstm" else GruSpec
    return kind(vocabulary, embedding, tuple(units), tied)


def build(spec: Spec, dropout: float | Regularisation = 0.0) -> LanguageModel:
    """A network of the spec's architecture and sizes, with torch's random weights.

    Args:
        spec: of one of the architectures.
        dropout: see `LanguageModel.rebuilt`.
    """
    if isinstance(spec, RhnSpec):
        return RhnLanguageModel(spec, dropout)
    if isinstance(spec, GruSpec):
        return GruLanguageModel(spec, dropout)
    return LstmLanguageModel(spec, dropout)


def build_spec(saved: NetworkSpec) -> LanguageModel:
    """A network of sizes that were saved (`isslim/compress/training/saved_network.py`).

    Raises:
        ValueError: when the architecture is not known.
        TypeError: when the sizes are not those of the architecture.
    """
    specs: dict[str, type[Spec]] = dict(
        zip(ARCHITECTURES, (LstmSpec, GruSpec, RhnSpec), strict=True)
    )
    if saved.architecture not in specs:
        raise ValueError(f"there is no architecture '{saved.architecture}'")
    sizes: dict[str, Any] = dict(saved.spec)
    return build(specs[saved.architecture](**sizes))
