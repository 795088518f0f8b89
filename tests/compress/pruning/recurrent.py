"""A small language model in numpy, run from its declaration alone, with a narrow layer anywhere.

Two recurrent layers of units h = sigmoid(a) tanh(b), an embedding below and a decoder above.
Whatever of narrow layers and blocks the declaration has is run as it is declared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from isslim.compress.pruning.axes import (
    Arrays,
    Dimension,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)
from isslim.compress.pruning.moments import ActivationStatistics, Moments, Sums
from tests.compress.pruning import made

Matrix = NDArray[np.float64]
WORDS, EMBEDDING, UNITS = 60, 7, (8, 6)


def place(layer: int, part: str, *, joint: bool) -> NarrowPlace:
    """Before the input matrix (`ih`) or the recurrent one (`hh`) of a layer."""
    name = {"ih": "input", "hh": "recurrent"}[part]
    site = f"layers.{layer}" if joint else f"layers.{layer}.{name}"
    narrow = f"layers.{layer}.narrow_{part}"
    reader = int(joint and part == "hh")
    axis = f"rank:toy{layer}.{name}"
    return NarrowPlace(axis, narrow, f"{narrow}.weight", f"{narrow}.bias", site, reader)


def places(*, joint: bool) -> list[NarrowPlace]:
    """Everywhere but before the decoder and at the embedding, which is narrow by itself."""
    return [place(layer, part, joint=joint) for layer, part in ((0, "hh"), (1, "ih"), (1, "hh"))]


def declared(*, joint: bool = True) -> NetworkAxes:
    """Its axes: one site a layer, or one for the input and one for the recurrence."""
    words = (Segment(None, WORDS),)
    below: Dimension = (Segment("embedding", EMBEDDING),)
    axes = {"embedding": EMBEDDING}
    dimensions: dict[str, tuple[Dimension, ...]] = {"embedding.weight": (words, below)}
    sites: list[PreActivation] = []
    read = "embedding"
    for layer, units in enumerate(UNITS):
        axis, prefix = f"units:toy{layer}", f"layers.{layer}"
        gates, own = (Segment(axis, units, repeat=2),), (Segment(axis, units),)
        axes[axis] = units
        dimensions |= {
            f"{prefix}.weight_ih_l0": (gates, below),
            f"{prefix}.weight_hh_l0": (gates, own),
            f"{prefix}.bias_ih_l0": (gates,),
            f"{prefix}.bias_hh_l0": (gates,),
        }
        inward = InputMatrix(f"{prefix}.weight_ih_l0", (read,))
        across = InputMatrix(f"{prefix}.weight_hh_l0", (f"toy{layer}:previous",))
        if joint:
            sites.append(PreActivation(prefix, (inward, across), f"{prefix}.bias_ih_l0"))
        else:
            sites.append(PreActivation(f"{prefix}.input", (inward,), f"{prefix}.bias_ih_l0"))
            sites.append(PreActivation(f"{prefix}.recurrent", (across,), f"{prefix}.bias_hh_l0"))
        below, read = own, f"toy{layer}"
    dimensions |= {"decoder.weight": (words, below), "decoder.bias": (words,)}
    sites.append(
        PreActivation("decoder", (InputMatrix("decoder.weight", (read,)),), "decoder.bias")
    )
    return NetworkAxes(axes, dimensions, tuple(sites), {})


def drawn(declaration: NetworkAxes, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Normal numbers, smaller where they are summed over."""
    found = made.filled(declaration, seed)
    scale = 0.9 / np.sqrt(max(UNITS) / 2)
    return {name: (array * scale).astype(np.float32) for name, array in found.items()}


def tokens(count: int = 400, seed: int = 1) -> list[int]:
    """A text in which few words are frequent."""
    weights = 1 / np.arange(1, WORDS + 1)
    chosen = np.random.default_rng(seed).choice(WORDS, count, p=weights / weights.sum())
    return [(7 * each) % WORDS for each in chosen.tolist()]


def run(
    arrays: Arrays, declaration: NetworkAxes, text: list[int]
) -> tuple[Matrix, dict[str, Matrix]]:
    """The logits (T, V) at every step, and by site what it read (T, D)."""
    of = {name: array.astype(np.float64) for name, array in arrays.items()}
    narrow = {each.name: each.axis for each in declaration.narrow}
    values: dict[str, Matrix] = {
        f"toy{layer}": np.zeros(declaration.axes[f"units:toy{layer}"])
        for layer in range(len(UNITS))
    }
    logits, seen = list[Matrix](), dict[str, list[Matrix]]()
    for token in text:
        values |= {f"{name}:previous": values[name] for name in ("toy0", "toy1")}
        values["embedding"] = of["embedding.weight"][token]
        parts: dict[str, Matrix] = {}
        found = np.zeros(WORDS)
        for site in declaration.sites:
            inputs = [
                np.concatenate([values[name] for name in reader.activations])
                for reader in site.readers
            ]
            seen.setdefault(site.name, []).append(np.concatenate(inputs))
            result = of[str(site.bias)] + sum(
                of[reader.parameter] @ each
                for reader, each in zip(site.readers, inputs, strict=True)
            )
            if site.name in narrow:
                values[narrow[site.name]] = result
            elif site.name == "decoder":
                found = result
            elif site.name.startswith("decoder."):
                parts[site.name] = result
            else:
                _step(site.name, result, of, values)
        if parts:
            found[of["softmax.order"].astype(int)] = np.concatenate(
                [parts[f"decoder.{block}"] for block in range(len(parts))]
            )
        logits.append(found)
    return np.array(logits), {name: np.array(rows) for name, rows in seen.items()}


def _step(name: str, gates: Matrix, of: Mapping[str, Matrix], values: dict[str, Matrix]) -> None:
    """The units of a layer from its pre-activation, or from the second one of two."""
    layer, _, part = name.removeprefix("layers.").partition(".")
    if part == "input":
        values[name] = gates
        return
    if part == "recurrent":
        gates = gates + values[f"layers.{layer}.input"]
    else:
        gates = gates + of[f"layers.{layer}.bias_hh_l0"]
    one, other = np.split(gates, 2)
    values[f"toy{layer}"] = np.tanh(other) / (1 + np.exp(-one))


def observed(arrays: Arrays, declaration: NetworkAxes, text: list[int]) -> ActivationStatistics:
    """The moments of what each site reads, in double precision, and the words' frequencies."""
    _, rows = run(arrays, declaration, text)
    counts = np.bincount(text, minlength=WORDS).astype(np.float64)
    moments = {name: moments_of(each) for name, each in rows.items()}
    return ActivationStatistics(moments, len(text), counts)


def moments_of(rows: Matrix) -> Moments:
    """Of rows (N, D), their first half apart."""
    whole, half = (
        Sums(len(each), each.sum(0), each.T @ each) for each in (rows, rows[: len(rows) // 2])
    )
    return Moments(whole, half)
