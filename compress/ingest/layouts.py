"""Names and shapes to a network: which parameter of an upload is the embedding, which a layer, which the decoder.

Recognised: the PyTorch word-language-model example, AWD-LSTM, plain `embed / lstm / fc` families under many names, one
LSTM module of several layers or several modules, `LSTMCell`, projections (`proj_size`, folded exactly into a plain
LSTM), missing biases (zero), one-hot input (an identity embedding). Every parameter must be explained: what is left
over makes the model one that is not understood, and it is refused by name.

Legend: V vocabulary, E embedding width, H units, I inputs of a layer, P projection width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.axes import AxisMismatch
from compress.errors import UnknownArchitecture
from compress.ingest.checkpoint import Checkpoint, read_checkpoint
from compress.networks.lstm import LstmLanguageModel, LstmSpec, declare, from_arrays

LARGEST_ONE_HOT = 2048
EXPECTED = (
    "an embedding (V, E) [optional for one-hot input]; LSTM layers with weight_ih (4H, I) and weight_hh (4H, H), "
    "biases (4H) optional; a linear decoder (V, H), bias (V) optional, missing when tied"
)
_GATE = re.compile(
    r"^(?P<module>.*?)\.?(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l(?P<layer>\d+))?(?P<reverse>_reverse)?(?P<raw>_raw)?$"
)
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_IGNORED = re.compile(r"(num_batches_tracked|^|\.)(dropout|drop|criterion)\b")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ingested:
    """A model that is understood."""

    network: LstmLanguageModel
    layout: str
    vocabulary: list[str] | None


def read_model(model: Path, config: Path | None) -> Ingested:
    """Reads an upload and recognises its layout.

    Raises:
        CompressError: one of `compress.errors`, saying what was found and what was expected.
    """
    return recognise(read_checkpoint(model, config))


def recognise(checkpoint: Checkpoint) -> Ingested:
    """Explains every parameter of a checkpoint as part of an LSTM language model.

    Raises:
        UnknownArchitecture: with the parameters found, when any is not explained or a shape does not fit.
    """
    arrays = _without_prefix(checkpoint.arrays)
    found = [f"{name} {array.shape}" for name, array in arrays.items()]
    layers, rest = _layers(arrays, found)
    matrices = {name: array for name, array in rest.items() if array.ndim == 2}
    vectors = {name: array for name, array in rest.items() if array.ndim == 1}
    strange = sorted(rest.keys() - matrices.keys() - vectors.keys())
    notes = [f"{len(layers)} LSTM layers"]
    if any("weight_hr" in layer for layer in layers):
        notes.append("projection folded into a plain LSTM")
    decoder, embedding, tied = _ends(matrices, layers, checkpoint.config.tied, found)
    top_width = (layers[-1].get("weight_hr", layers[-1]["weight_hh"].T)).shape[0]
    unexplained = sorted(matrices.keys() - {embedding, decoder}) + strange
    head = matrices[decoder] if decoder is not None else matrices[str(embedding)]
    bias_name = next((name for name in vectors if vectors[name].shape == (len(head),)), None)
    unexplained += sorted(vectors.keys() - {bias_name})
    if unexplained:
        raise _unknown(f"these parameters are not part of an LSTM language model: {', '.join(unexplained)}", found)
    if head.shape[1] != top_width:
        raise _unknown(f"the decoder reads {head.shape[1]} values, the last LSTM layer gives {top_width}", found)
    vocabulary = len(head)
    if embedding is None:
        if layers[0]["weight_ih"].shape[1] != vocabulary:
            raise _unknown("there is no embedding, and the first LSTM layer does not read one-hot vectors", found)
        if vocabulary > LARGEST_ONE_HOT:
            raise _unknown(
                f"one-hot input is understood up to {LARGEST_ONE_HOT} tokens, this model has {vocabulary}", found
            )
        table: Floats = np.eye(vocabulary, dtype=np.float32)
        notes.append("one-hot input as an identity embedding")
    else:
        table = matrices[embedding]
    if tied and any("weight_hr" in layer for layer in layers):
        # The folded layer's outputs are no longer what the embedding's columns mean.
        tied = False
        notes.append("untied, since the projection is folded")
    notes.append("tied" if tied else "untied")
    plain = _plain(layers, table, head, vectors[bias_name] if bias_name else np.zeros(vocabulary, np.float32), tied)
    units = tuple(layer["weight_hh"].shape[0] // 4 for layer in layers)
    try:
        declare(LstmSpec(vocabulary, table.shape[1], units, tied)).check(plain)
    except AxisMismatch as error:
        raise _unknown("the shapes do not fit together", [*error.issues, *found]) from error
    return Ingested(from_arrays(plain, tied=tied), f"{_family(checkpoint)}: {', '.join(notes)}", checkpoint.vocabulary)


def _without_prefix(arrays: dict[str, Floats]) -> dict[str, Floats]:
    names = [name for name in arrays if not _IGNORED.search(name)]
    while True:
        prefix = next((p for p in _PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        names = [name.removeprefix(prefix) for name in names]
    return {name: arrays[name] for name in names}


def _layers(arrays: dict[str, Floats], found: list[str]) -> tuple[list[dict[str, Floats]], dict[str, Floats]]:
    """The LSTM layers from the bottom, each `{kind: array}`, and what is left over."""
    grouped: dict[tuple[str, int], dict[str, Floats]] = {}
    rest = {}
    for name, array in arrays.items():
        match = _GATE.match(name)
        if match is None:
            rest[name] = array
            continue
        if match["reverse"]:
            raise _unknown(f"'{name}' belongs to a bidirectional LSTM; a language model reads one way", found)
        # AWD-LSTM names: `rnns.0.module.weight_hh_l0` is a dropped copy of the true `rnns.0.weight_hh_l0_raw`.
        module = match["module"].removesuffix(".module")
        layer = grouped.setdefault((module, int(match["layer"] or 0)), {})
        if match["raw"] or match["kind"] not in layer:
            layer[match["kind"]] = array
    if not grouped:
        raise _unknown("there is no recurrent layer: no parameter is called weight_ih or weight_hh", found)
    ordered = [
        grouped[key] for key in sorted(grouped, key=lambda key: ([_natural(p) for p in key[0].split(".")], key[1]))
    ]
    for key, layer in grouped.items():
        label = f"{key[0] or 'LSTM'} layer {key[1]}"
        if "weight_ih" not in layer or "weight_hh" not in layer:
            raise _unknown(f"{label} lacks weight_ih or weight_hh", found)
        rows, width = layer["weight_hh"].shape
        if "weight_hr" not in layer and rows != 4 * width:
            kind = {3: "a GRU", 1: "a plain RNN"}.get(rows // width if width else 0, "no LSTM")
            raise _unknown(
                f"{label} is {kind}: weight_hh has {rows} rows for {width} units, an LSTM has {4 * width}", found
            )
    return ordered, rest


def _ends(
    matrices: dict[str, Floats], layers: list[dict[str, Floats]], told: bool | None, found: list[str]
) -> tuple[str | None, str | None, bool]:
    """Names of decoder and embedding, and whether they are one matrix."""
    bottom = layers[0]["weight_ih"].shape[1]
    top = layers[-1].get("weight_hr", layers[-1]["weight_hh"].T).shape[0]
    inward = re.compile(r"emb|encoder|lookup|token|wte|vocab", re.IGNORECASE)
    outward = re.compile(r"decoder|fc|linear|proj|out|classif|head|softmax|hidden2|lang|lm_", re.IGNORECASE)
    embeddings = [name for name in matrices if matrices[name].shape[1] == bottom and inward.search(name)]
    decoders = [name for name in matrices if matrices[name].shape[1] == top and outward.search(name)]
    embeddings = [name for name in embeddings if name not in decoders] or embeddings
    if not embeddings and len(matrices) == 2 and len(decoders) == 1:
        embeddings = [name for name in matrices if name not in decoders and matrices[name].shape[1] == bottom]
    if len(embeddings) > 1 or len(decoders) > 1:
        raise _unknown(f"several matrices could be the embedding ({embeddings}) or the decoder ({decoders})", found)
    embedding = embeddings[0] if embeddings else None
    decoder = decoders[0] if decoders else None
    if embedding is not None and decoder is not None and embedding == decoder:
        decoder = None
    if decoder is None and embedding is None:
        raise _unknown("there is neither an embedding nor a decoder", found)
    if decoder is None:
        if told is False:
            raise _unknown("the config says untied, but there is no decoder", found)
        return None, embedding, True
    if embedding is None:
        return decoder, None, False
    equal = matrices[embedding].shape == matrices[decoder].shape and np.array_equal(
        matrices[embedding], matrices[decoder]
    )
    if told and not equal:
        raise _unknown("the config says tied, but embedding and decoder differ", found)
    return decoder, embedding, equal if told is None else told


def _plain(layers: list[dict[str, Floats]], table: Floats, head: Floats, bias: Floats, tied: bool) -> dict[str, Floats]:
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
    if not tied:
        arrays["decoder.weight"] = head if below is None else head @ below
    return arrays


def _family(checkpoint: Checkpoint) -> str:
    names = set(checkpoint.arrays)
    if any(name.endswith("_raw") for name in names):
        family = "AWD-LSTM"
    elif {"encoder.weight", "rnn.weight_ih_l0"} <= names:
        family = "PyTorch word language model"
    else:
        family = "embedding / LSTM / linear"
    return f"{family} (under {checkpoint.wrapper.rstrip('/')})" if checkpoint.wrapper else family


def _natural(part: str) -> tuple[int, str]:
    """Sorts `layers.10` behind `layers.9`."""
    digits = re.search(r"\d+", part)
    return (int(digits[0]) if digits else -1, part)


def _unknown(reason: str, found: list[str]) -> UnknownArchitecture:
    return UnknownArchitecture(f"{reason}. Expected: {EXPECTED}", found)
