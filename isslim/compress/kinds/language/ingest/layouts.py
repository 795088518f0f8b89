"""Recognises a language model by the names and shapes of its parameters.

Recognised: the PyTorch word-language-model example, AWD-LSTM, plain `embed / lstm / fc` families
under many names, one LSTM or GRU module of several layers or several modules, their cells,
projections (`proj_size`, a narrow layer for each reader), layers without biases (zero), one-hot
input where it is declared (an identity embedding); the recurrent highway networks of
`kinds/language/ingest/highway.py`; and this project's own narrow layers and decoders in blocks
(`kinds/language/ingest/ranks.py`). Shapes distinguish an LSTM (4 gates) from a GRU (3), and a name
that contradicts them is refused: three gates under the name of an LSTM may be coupled ones.

A model is understood completely or refused: every parameter is explained, every part that others
imply is there, and what is dropped or assumed is listed. The order of modules is decided in
`order.py`, embedding and decoder in `ends.py`, the layers in `layers.py`.

Legend: V vocabulary, E embedding width, H units, I inputs of a layer, P projection width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.ingest.checkpoint import Checkpoint, read_checkpoint
from isslim.compress.ingest.reading import MAX_NAMED, IngestReport
from isslim.compress.kinds.language.ingest.ends import (
    EmbeddingAndDecoder,
    EmbeddingOrDecoderUnknown,
    EndHints,
    find_embedding_and_decoder,
)
from isslim.compress.kinds.language.ingest.highway import is_highway, recognise_highway
from isslim.compress.kinds.language.ingest.layers import LayersUnknown, Stack, find_layers
from isslim.compress.kinds.language.ingest.order import LayerTensors, gives
from isslim.compress.kinds.language.ingest.ranks import has_ranks, recognise_ranks
from isslim.compress.kinds.language.ingest.uploaded_form import (
    UploadedForm,
    highway_form,
    ranks_form,
    stack_form,
)
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.names import (
    DECODER_BIAS,
    DECODER_WEIGHT,
    EMBEDDING_WEIGHT,
)
from isslim.compress.kinds.language.networks.stacked_axes import declare_stack
from isslim.compress.kinds.language.networks.stacked_spec import sizes_of
from isslim.compress.pruning.axes import AxisMismatch
from isslim.compress.pruning.narrow import BOTTLENECK

MAX_ONE_HOT = 2048
"""Tokens of one-hot input: its identity embedding has V x V entries."""
EXPECTED = (
    "an embedding (V, E); LSTM layers with weight_ih (4H, I) and weight_hh (4H, H), both biases "
    "(4H) or none, or GRU layers with "
    "3H; a linear decoder (V, H), bias (V) optional"
)
ELSEWHERE = (
    "Only language models and this project's BiDAF are read from weights; anything else with LSTM, "
    "GRU or RNN layers (a tagger, "
    "a classifier, a time series, another BiDAF) goes as ONNX: `torch.onnx.export(model.eval(), "
    "(example_input,), 'model.onnx', "
    "dynamo=False)`"
)
UNSEEN = "no residual links, no scaling, no activation or normalisation without weights"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ingested:
    """A model that was recognised.

    Attributes:
        network: in evaluation mode.
        reading: how the file was read.
        vocabularies: lists of tokens in the file, by where they were found.
        form: how the weights go back under the names of the file.
    """

    network: LanguageModel
    reading: IngestReport
    vocabularies: dict[str, list[str]]
    form: UploadedForm

    @property
    def layout(self) -> str:
        """A line on how the file was read."""
        return self.reading.line


def read_model(model: Path, config: Path | None) -> Ingested:
    """Reads a checkpoint and recognises its layout.

    Args:
        model: the checkpoint.
        config: its JSON config, if one was sent.

    Raises:
        CompressError: one of `isslim.compress.errors`, with what was found and what was expected.
    """
    return recognise(read_checkpoint(model, config))


def recognise(checkpoint: Checkpoint) -> Ingested:
    """Explains every parameter of a checkpoint as part of a language model.

    Raises:
        UnknownArchitecture: with the parameters found, when any is missing or not explained or a
            shape does not fit.
    """
    arrays, config = checkpoint.arrays, checkpoint.config
    found = [f"{name} {array.shape}" for name, array in arrays.items()]
    found = found[:MAX_NAMED] + (
        [f"and {len(found) - MAX_NAMED:,} more"] if len(found) > MAX_NAMED else []
    )
    if is_highway(set(arrays)):
        if config.layers is not None:
            raise _unknown(
                "the config orders layers, but a recurrent highway network has one", found
            )
        network, kind = recognise_highway(arrays, config.tied, checkpoint.tied, found)
        reading = IngestReport(", ".join((kind, *checkpoint.done)), checkpoint.dropped)
        return Ingested(
            network, reading, checkpoint.vocabularies, highway_form(checkpoint, network)
        )
    if has_ranks(set(arrays)):
        ranked, kind = recognise_ranks(arrays, config.tied, checkpoint.tied, found)
        reading = IngestReport(", ".join((kind, *checkpoint.done)), checkpoint.dropped)
        return Ingested(ranked, reading, checkpoint.vocabularies, ranks_form())
    try:
        stack = find_layers(arrays, config.layers, checkpoint.layers)
    except LayersUnknown as error:
        raise _unknown(str(error), found) from error
    return _language_model(stack, checkpoint, found)


def _language_model(stack: Stack, checkpoint: Checkpoint, found: list[str]) -> Ingested:
    """The network of a stack of layers and of the parameters beside them."""
    layers, kind, rest = stack.layers, stack.kind, dict(stack.rest)
    cell = kind.cell.upper()
    narrow = {name: rest.pop(name) for name in (BOTTLENECK.weight, BOTTLENECK.bias) if name in rest}
    projected = any("weight_hr" in layer for layer in layers)
    top_width = _read(layers, narrow, cell, found)
    ends = _find_ends(rest, layers[0]["weight_ih"].shape[1], top_width, checkpoint, found)
    known = {
        name: rest[name] for name in (ends.embedding, ends.decoder, ends.bias) if name is not None
    }
    twins = _twins(rest, known)
    _refuse_unexplained(rest, rest.keys() - known.keys() - twins.keys(), cell, found)
    head = rest[ends.decoder or str(ends.embedding)]
    if head.shape[1] != top_width:
        above = f"the last {cell} layer" if not narrow else "the bottleneck"
        raise _unknown(
            f"the decoder reads {head.shape[1]} values, {above} gives {top_width}", found
        )
    if narrow and ends.tied:
        raise _unknown("there is a bottleneck, but the decoder is the embedding", found)
    table = rest[ends.embedding] if ends.embedding else _one_hot(len(head), layers[0], cell, found)
    # Behind a projection the decoder reads a narrow layer of its own, which a tied one has not.
    tied = ends.tied and not projected
    bias = rest[ends.bias] if ends.bias else np.zeros(len(head), np.float32)
    plain = _plain(layers, table, head, bias, tied, narrow)
    try:
        spec = sizes_of(plain, kind.spec_type, kind.cell, kind.layer_type, tied=tied)
        declare_stack(spec, kind.cell, kind.layer_type).check(plain)
    except AxisMismatch as error:
        raise _unknown("the shapes do not fit together", [*error.issues, *found]) from error
    reading = IngestReport(
        ", ".join(
            [
                _stack_line(checkpoint, stack, spec.units),
                *_notes(ends, stack, projected, bool(narrow)),
                *checkpoint.done,
            ]
        ),
        (
            *stack.dropped,
            *(f"'{name}', the same as '{twin}'" for name, twin in twins.items()),
            *checkpoint.dropped,
        ),
        _assumed(stack, ends, checkpoint),
    )
    network = kind.from_arrays(plain, tied=tied)
    form = stack_form(checkpoint, stack, ends, twins, network)
    return Ingested(network, reading, checkpoint.vocabularies, form)


def _find_ends(
    rest: dict[str, Floats], bottom: int, top: int, checkpoint: Checkpoint, found: list[str]
) -> EmbeddingAndDecoder:
    """Embedding, decoder and its bias among the parameters of no layer.

    Raises:
        UnknownArchitecture: when they are not found, with the parameters of another kind of model.
    """
    config = checkpoint.config
    matrices = {name: array for name, array in rest.items() if array.ndim == 2}
    vectors = {name: array for name, array in rest.items() if array.ndim == 1}
    spelled = any(len(tokens) == bottom for tokens in checkpoint.vocabularies.values())
    hints = EndHints(config.tied, checkpoint.tied, config.one_hot, spelled)
    try:
        return find_embedding_and_decoder(matrices, vectors, bottom, top, hints)
    except EmbeddingOrDecoderUnknown as error:
        strange = sorted(rest.keys() - matrices.keys() - vectors.keys())
        more = f"; these are of more than two dimensions: {', '.join(strange)}" if strange else ""
        raise _unknown(f"{error}{more}", found) from error


def _refuse_unexplained(
    rest: dict[str, Floats], unexplained: set[str], cell: str, found: list[str]
) -> None:
    if not unexplained:
        return
    names = [name for name in rest if name in unexplained]
    shown = ", ".join(f"{name} {rest[name].shape}" for name in names[:12]) + (
        ", ..." if len(names) > 12 else ""
    )
    advice = ""
    if any(name.rpartition(".")[2].startswith("running_") for name in names):
        advice = ". They are of a batch normalisation, which the model computes with"
    elif all(rest[name].ndim <= 1 for name in names):
        listed = ", ".join(f'"{name}"' for name in names[:12])
        advice = (
            ". If the model computes its answers without them, say so in the config: "
            f'{{"drop": [{listed}]}}'
        )
    raise _unknown(
        f"these are not part of a language model of {cell} layers: {shown}{advice}", found
    )


def _stack_line(checkpoint: Checkpoint, stack: Stack, units: tuple[int, ...]) -> str:
    """A line on the family of the layout, and on the layers."""
    names, cell = set(checkpoint.arrays), stack.kind.cell.upper()
    if any(name.endswith("_raw") for name in names):
        family = "AWD-LSTM layout"
    elif {"encoder.weight", "rnn.weight_ih_l0"} <= names:
        family = "PyTorch word-language-model layout"
    else:
        family = f"embedding / {cell} / linear layout"
    under = f" (under {checkpoint.wrapper})" if checkpoint.wrapper else ""
    sizes = (
        str(units[0])
        if len(set(units)) == 1
        else f"{', '.join(map(str, units[:-1]))} and {units[-1]}"
    )
    layers = f"{len(units)} {cell} layer{'s' if len(units) > 1 else ''}"
    return f"{family}{under}: {layers} of {sizes} units"


def _notes(ends: EmbeddingAndDecoder, stack: Stack, projected: bool, narrow: bool) -> list[str]:
    """Clauses on what else was recognised; the last on whether the model is tied."""
    notes = (
        ["layers without biases"] if not any("bias_ih" in layer for layer in stack.layers) else []
    )
    if projected:
        notes.append(
            "projection read as narrow layers, a copy for each reader, which count as parameters "
            "of the original here"
        )
    notes += ["a bottleneck before the decoder"] if narrow else []
    notes += ["a decoder without bias"] if ends.bias is None else []
    if ends.embedding is None:
        notes.append(
            "one-hot input as an identity embedding, whose entries count as parameters of the "
            "original here"
        )
    if projected and ends.tied:
        return [*notes, "untied, since the decoder reads the projection's copy"]
    if ends.why:
        source = "the config says" if ends.why == "config" else f"the file says ({ends.why})"
        return [*notes, f"tied, as {source}"]
    return [*notes, "tied" if ends.tied else "untied"]


def _assumed(stack: Stack, ends: EmbeddingAndDecoder, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Assumptions: what a file of weights cannot show."""
    order = (
        "the layers feed one another in this order"
        if len(stack.layers) > 1
        else "the layer reads the embedding directly"
    )
    if len(stack.modules) > 1:
        by = "as the config says" if checkpoint.config.layers is not None else "by their names"
        order += f" ({by}: {', '.join(stack.modules)})"
    assumed = [order, UNSEEN, "the decoder reads the top layer directly"]
    if ends.embedding is None and checkpoint.config.one_hot is None:
        assumed.append(
            "the first layer reads one-hot vectors, since it is as wide as the vocabulary in the "
            "file"
        )
    return tuple(assumed)


def _one_hot(vocabulary: int, bottom: LayerTensors, cell: str, found: list[str]) -> Floats:
    """The identity embedding (V, V) for a first layer that reads one-hot vectors."""
    if bottom["weight_ih"].shape[1] != vocabulary:
        raise _unknown(
            f"there is no embedding, and the first {cell} layer does not read one-hot vectors",
            found,
        )
    if vocabulary > MAX_ONE_HOT:
        raise _unknown(
            f"one-hot input is understood up to {MAX_ONE_HOT} tokens, this model has {vocabulary}",
            found,
        )
    table: Floats = np.eye(vocabulary, dtype=np.float32)
    return table


def _twins(rest: dict[str, Floats], known: dict[str, Floats]) -> dict[str, str]:
    """Parameters that equal a known one, by name, and the name of that one."""
    return {
        name: twin
        for name, array in rest.items()
        for twin in reversed(known)
        if name not in known and np.array_equal(array, known[twin])
    }


def _read(
    layers: list[LayerTensors], narrow: dict[str, Floats], cell: str, found: list[str]
) -> int:
    """The number of values that the decoder reads: outputs of the last layer or the bottleneck."""
    top = gives(layers[-1])
    if not narrow:
        return top
    shapes = [array.shape for array in narrow.values()]
    if len(shapes) < 2 or len(shapes[0]) != 2 or shapes[0][1] != top or shapes[1] != shapes[0][:1]:
        description = ", ".join(
            f"{name} {shape}" for name, shape in zip(narrow, shapes, strict=True)
        )
        raise _unknown(
            f"a bottleneck has {BOTTLENECK.weight} (K, {top}), reading the last {cell} layer, and "
            f"{BOTTLENECK.bias} (K), "
            f"not {description}",
            found,
        )
    return int(shapes[0][0])


def _plain(
    layers: list[LayerTensors],
    table: Floats,
    head: Floats,
    bias: Floats,
    tied: bool,
    narrow: dict[str, Floats],
) -> dict[str, Floats]:
    """The arrays of this project's own module.

    Each reader of a projection `weight_hr` has a narrow layer with a copy of it. A bottleneck is
    one already, into which it is folded. Both are exact from a zero state.
    """
    arrays: dict[str, Floats] = {EMBEDDING_WEIGHT: table, DECODER_BIAS: bias}

    def narrowed(name: str, projection: Floats | None) -> None:
        if projection is not None:
            arrays[f"{name}.weight"] = projection
            arrays[f"{name}.bias"] = np.zeros(len(projection), np.float32)

    below: Floats | None = None  # weight_hr (P, H) of the layer below
    for index, layer in enumerate(layers):
        zero = np.zeros(len(layer["weight_ih"]), np.float32)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            arrays[f"layers.{index}.{kind}_l0"] = layer.get(kind, zero)
        narrowed(f"layers.{index}.narrow_ih", below)
        below = layer.get("weight_hr")
        narrowed(f"layers.{index}.narrow_hh", below)
    if not tied:
        arrays[DECODER_WEIGHT] = head
    if narrow and below is not None:
        arrays |= narrow | {BOTTLENECK.weight: narrow[BOTTLENECK.weight] @ below}
    elif narrow:
        arrays |= narrow
    else:
        narrowed(BOTTLENECK.name, below)
    return arrays


def _unknown(reason: str, found: list[str]) -> UnknownArchitecture:
    return UnknownArchitecture(f"{reason}. {ELSEWHERE}. Expected: {EXPECTED}", found)
