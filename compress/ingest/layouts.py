"""Names and shapes to a network: which parameter of an upload is the embedding, which a layer, which the decoder.

Recognised: the PyTorch word-language-model example, AWD-LSTM, plain `embed / lstm / fc` families under many names, one
LSTM or GRU module of several layers or several modules, their cells, projections (`proj_size`, folded exactly into a
plain LSTM), missing biases (zero), one-hot input (an identity embedding); and the recurrent highway networks of
`ingest/highway.py`. Shapes tell an LSTM (4 gates) from a GRU (3), and a name that says otherwise is refused: three gates
under the name of an LSTM may be one with coupled gates. Every parameter must be explained: what is left over makes the
model one that is not understood, and it is refused by name. A second name for the same matrix, as fastai's dropout
around the embedding leaves one, is dropped. The order of several modules is the matter of `ingest/order.py`.

Legend: V vocabulary, E embedding width, H units, I inputs of a layer, P projection width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress import bottleneck
from compress.axes import AxisMismatch
from compress.errors import UnknownArchitecture
from compress.ingest.checkpoint import Checkpoint, read_checkpoint
from compress.ingest.ends import EndsUnknown, find_ends
from compress.ingest.highway import is_highway, recognise_highway
from compress.ingest.order import Layer, OrderUnknown, gives, order_modules
from compress.ingest.reading import Reading
from compress.networks.contract import LanguageModel
from compress.networks.gru import GruLanguageModel
from compress.networks.lstm import LstmLanguageModel
from compress.networks.stacked import StackedLanguageModel, declare_stack

LARGEST_ONE_HOT = 2048
EXPECTED = (
    "an embedding (V, E) [optional for one-hot input]; LSTM layers with weight_ih (4H, I) and weight_hh (4H, H), "
    "biases (4H) optional, or GRU layers with 3H; a linear decoder (V, H), bias (V) optional, missing when tied"
)
_GATE = re.compile(
    r"^(?P<module>.*?)\.?(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l(?P<layer>\d+))?(?P<reverse>_reverse)?(?P<raw>_raw)?$"
)
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_IGNORED = re.compile(r"(num_batches_tracked|^|\.)(dropout|drop|criterion)\b")
_CELLS: dict[int, type[StackedLanguageModel]] = {4: LstmLanguageModel, 3: GruLanguageModel}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ingested:
    """A model that is understood."""

    network: LanguageModel
    reading: Reading
    vocabulary: list[str] | None

    @property
    def layout(self) -> str:
        """How it was read, in a line."""
        return self.reading.line


def read_model(model: Path, config: Path | None) -> Ingested:
    """Reads an upload and recognises its layout.

    Raises:
        CompressError: one of `compress.errors`, saying what was found and what was expected.
    """
    return recognise(read_checkpoint(model, config))


def recognise(checkpoint: Checkpoint) -> Ingested:
    """Explains every parameter of a checkpoint as part of a language model.

    Raises:
        UnknownArchitecture: with the parameters found, when any is not explained or a shape does not fit.
    """
    arrays = _without_prefix(checkpoint.arrays)
    found = [f"{name} {array.shape}" for name, array in arrays.items()]
    if is_highway(set(arrays)):
        if checkpoint.config.layers is not None:
            raise _unknown("the config orders layers, but a recurrent highway network has one", found)
        network, layout = recognise_highway(arrays, checkpoint.config.tied, found)
        return Ingested(network, Reading(layout), checkpoint.vocabulary)
    layers, rest, kind = _layers(arrays, checkpoint, found)
    cell = kind.cell.upper()
    narrow = {name: rest.pop(name) for name in (bottleneck.WEIGHT, bottleneck.BIAS) if name in rest}
    matrices = {name: array for name, array in rest.items() if array.ndim == 2}
    vectors = {name: array for name, array in rest.items() if array.ndim == 1}
    strange = sorted(rest.keys() - matrices.keys() - vectors.keys())
    notes = [f"{len(layers)} {cell} layers"]
    if any("weight_hr" in layer for layer in layers):
        notes.append("projection folded into a plain LSTM")
    top_width = _read(layers, narrow, cell, found)
    bottom_width = layers[0]["weight_ih"].shape[1]
    try:
        decoder, embedding, tied = find_ends(matrices, bottom_width, top_width, checkpoint.config.tied)
    except EndsUnknown as error:
        raise _unknown(str(error), found) from error
    known = {name: matrices[name] for name in (decoder, embedding) if name is not None}
    twins = _twins(matrices, known)
    notes += [f"'{name}' dropped, the same as '{twin}'" for name, twin in twins.items()]
    unexplained = sorted(matrices.keys() - known.keys() - twins.keys()) + strange
    head = matrices[decoder] if decoder is not None else matrices[str(embedding)]
    bias_name = next((name for name in vectors if vectors[name].shape == (len(head),)), None)
    unexplained += sorted(vectors.keys() - {bias_name})
    if unexplained:
        raise _unknown(f"these are not part of a language model of {cell} layers: {', '.join(unexplained)}", found)
    if head.shape[1] != top_width:
        above = f"the last {cell} layer" if not narrow else "the bottleneck"
        raise _unknown(f"the decoder reads {head.shape[1]} values, {above} gives {top_width}", found)
    if narrow and tied:
        raise _unknown("there is a bottleneck, but the decoder is the embedding", found)
    notes += ["a bottleneck before the decoder"] if narrow else []
    vocabulary = len(head)
    if embedding is None:
        notes.append("one-hot input as an identity embedding, whose entries count as parameters of the original here")
    table = matrices[embedding] if embedding is not None else _one_hot(vocabulary, layers[0], cell, found)
    if tied and any("weight_hr" in layer for layer in layers):
        # The folded layer's outputs are no longer what the embedding's columns mean.
        tied = False
        notes.append("untied, since the projection is folded")
    notes.append("tied" if tied else "untied")
    bias = vectors[bias_name] if bias_name else np.zeros(vocabulary, np.float32)
    plain = _plain(layers, table, head, bias, tied, narrow)
    units = tuple(layer["weight_hh"].shape[0] // kind.layer_type.gates for layer in layers)
    try:
        spec = kind.spec_type(vocabulary, table.shape[1], units, tied, top_width if narrow else None)
        declare_stack(spec, kind.cell, kind.layer_type).check(plain)
    except AxisMismatch as error:
        raise _unknown("the shapes do not fit together", [*error.issues, *found]) from error
    layout = f"{_family(checkpoint, cell)}: {', '.join(notes)}"
    return Ingested(kind.from_arrays(plain, tied=tied), Reading(layout), checkpoint.vocabulary)


def _one_hot(vocabulary: int, bottom: Layer, cell: str, found: list[str]) -> Floats:
    """The embedding (V, V) that says what a first layer without one does."""
    if bottom["weight_ih"].shape[1] != vocabulary:
        raise _unknown(f"there is no embedding, and the first {cell} layer does not read one-hot vectors", found)
    if vocabulary > LARGEST_ONE_HOT:
        raise _unknown(
            f"one-hot input is understood up to {LARGEST_ONE_HOT} tokens, this model has {vocabulary}", found
        )
    table: Floats = np.eye(vocabulary, dtype=np.float32)
    return table


def _without_prefix(arrays: dict[str, Floats]) -> dict[str, Floats]:
    names = [name for name in arrays if not _IGNORED.search(name)]
    while True:
        prefix = next((p for p in _PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        names = [name.removeprefix(prefix) for name in names]
    return {name: arrays[name] for name in names}


def _layers(
    arrays: dict[str, Floats], checkpoint: Checkpoint, found: list[str]
) -> tuple[list[Layer], dict[str, Floats], type[StackedLanguageModel]]:
    """The recurrent layers from the bottom, each `{kind: array}`, what is left over, and what the layers are."""
    grouped: dict[str, dict[int, Layer]] = {}
    rest = {}
    for name, array in arrays.items():
        match = _GATE.match(name)
        if match is None:
            rest[name] = array
            continue
        if match["reverse"]:
            raise _unknown(f"'{name}' belongs to a bidirectional layer; a language model reads one way", found)
        # AWD-LSTM names: `rnns.0.module.weight_hh_l0` is a dropped copy of the true `rnns.0.weight_hh_l0_raw`.
        own = grouped.setdefault(match["module"].removesuffix(".module"), {})
        layer = own.setdefault(int(match["layer"] or 0), {})
        if match["raw"] or match["kind"] not in layer:
            layer[match["kind"]] = array
    if not grouped:
        raise _unknown("there is no recurrent layer: no parameter is called weight_ih or weight_hh", found)
    kinds: dict[str, type[StackedLanguageModel]] = {}
    for module, layers in grouped.items():
        kinds |= {_label(module, index): _kind(_label(module, index), module, layers[index], found) for index in layers}
        if sorted(layers) != list(range(len(layers))):
            raise _unknown(f"of the layers of '{module}', only {sorted(layers)} are there", found)
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{label}: {kind.cell.upper()}" for label, kind in kinds.items())
        raise _unknown(f"the layers are not of one kind ({told})", found)
    shapes = [array.shape for array in rest.values() if array.ndim == 2]
    try:
        names = order_modules(grouped, shapes, checkpoint.config.layers, in_order=checkpoint.in_order)
    except OrderUnknown as error:
        raise _unknown(str(error), found) from error
    ordered = [grouped[name][index] for name in names for index in sorted(grouped[name])]
    return ordered, rest, next(iter(kinds.values()))


def _twins(matrices: dict[str, Floats], known: dict[str, Floats]) -> dict[str, str]:
    """Matrices that are a known one under a second name, and which."""
    return {
        name: twin
        for name, matrix in matrices.items()
        for twin in known
        if name not in known and np.array_equal(matrix, known[twin])
    }


def _label(module: str, index: int) -> str:
    return f"{module or 'recurrent'} layer {index}"


def _kind(label: str, module: str, layer: Layer, found: list[str]) -> type[StackedLanguageModel]:
    """What a layer is, told from the number of its gates; refused when its name says otherwise."""
    if "weight_ih" not in layer or "weight_hh" not in layer:
        raise _unknown(f"{label} lacks weight_ih or weight_hh", found)
    if layer["weight_ih"].ndim != 2 or layer["weight_hh"].ndim != 2:
        raise _unknown(f"{label} has a weight_ih or weight_hh that is no matrix", found)
    rows, width = layer["weight_hh"].shape
    gates = 4 if "weight_hr" in layer else rows / max(width, 1)
    kind = _CELLS.get(int(gates)) if gates == int(gates) else None
    if kind is None:
        what = "a plain RNN" if gates == 1 else "neither LSTM nor GRU"
        raise _unknown(
            f"{label} is {what}: weight_hh has {rows} rows for {width} units, an LSTM has {4 * width}, a GRU {3 * width}",
            found,
        )
    claimed = re.search("lstm|gru", module, re.IGNORECASE)
    if claimed is not None and claimed[0].lower() != kind.cell:
        raise _unknown(
            f"{label} is called {claimed[0].upper()}, but its weight_hh has the {rows} rows of a {kind.cell.upper()} with "
            f"{width} units; if it is a plain torch {kind.cell.upper()}, say so by `rename` in the config",
            found,
        )
    return kind


def _read(layers: list[Layer], narrow: dict[str, Floats], cell: str, found: list[str]) -> int:
    """How many values the decoder reads: the last layer's outputs, or the bottleneck's."""
    top = gives(layers[-1])
    if not narrow:
        return top
    shapes = [array.shape for array in narrow.values()]
    if len(shapes) < 2 or len(shapes[0]) != 2 or shapes[0][1] != top or shapes[1] != shapes[0][:1]:
        told = ", ".join(f"{name} {shape}" for name, shape in zip(narrow, shapes, strict=True))
        raise _unknown(
            f"a bottleneck has {bottleneck.WEIGHT} (K, {top}), reading the last {cell} layer, and {bottleneck.BIAS} (K), "
            f"not {told}",
            found,
        )
    return int(shapes[0][0])


def _plain(
    layers: list[Layer], table: Floats, head: Floats, bias: Floats, tied: bool, narrow: dict[str, Floats]
) -> dict[str, Floats]:
    """The arrays of our own module. A projected layer's readers take `W @ weight_hr`: exact from a zero state."""
    arrays: dict[str, Floats] = {"embedding.weight": table, "decoder.bias": bias}
    below: Floats | None = None  # weight_hr (P, H) of the layer below
    for index, layer in enumerate(layers):
        own = layer.get("weight_hr")
        inward, across = layer["weight_ih"], layer["weight_hh"]
        zero = np.zeros(len(inward), np.float32)
        arrays[f"layers.{index}.weight_ih_l0"] = inward if below is None else inward @ below
        arrays[f"layers.{index}.weight_hh_l0"] = across if own is None else across @ own
        arrays[f"layers.{index}.bias_ih_l0"] = layer.get("bias_ih", zero)
        arrays[f"layers.{index}.bias_hh_l0"] = layer.get("bias_hh", zero)
        below = own
    if narrow:
        own = narrow[bottleneck.WEIGHT]
        arrays |= narrow | {bottleneck.WEIGHT: own if below is None else own @ below, "decoder.weight": head}
    elif not tied:
        arrays["decoder.weight"] = head if below is None else head @ below
    return arrays


def _family(checkpoint: Checkpoint, cell: str) -> str:
    names = set(checkpoint.arrays)
    if any(name.endswith("_raw") for name in names):
        family = "AWD-LSTM"
    elif {"encoder.weight", "rnn.weight_ih_l0"} <= names:
        family = "PyTorch word language model"
    else:
        family = f"embedding / {cell} / linear"
    return f"{family} (under {checkpoint.wrapper.rstrip('/')})" if checkpoint.wrapper else family


def _unknown(reason: str, found: list[str]) -> UnknownArchitecture:
    return UnknownArchitecture(f"{reason}. Expected: {EXPECTED}", found)
