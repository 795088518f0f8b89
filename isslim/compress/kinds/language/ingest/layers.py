"""The recurrent layers of a state dict: parameters by module and number, complete, of one kind.

Legend: H units, I inputs of a layer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isslim.compress.kinds.language.ingest.order import LayerTensors, OrderUnknown, order_modules
from isslim.compress.kinds.language.networks.gru import GruLanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel

_GATE = re.compile(
    r"^(?P<module>.*?)\.?(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)"
    r"(?:_l(?P<layer>\d+))?(?P<reverse>_reverse)?(?P<raw>_raw)?$"
)
_CELLS: dict[int, type[StackedLanguageModel]] = {4: LstmLanguageModel, 3: GruLanguageModel}
Floats = NDArray[np.float32]
Grouped = dict[str, dict[int, LayerTensors]]


class LayersUnknown(ValueError):
    """There are no recurrent layers, or they are incomplete, or not understood."""


@dataclass(frozen=True)
class Stack:
    """Recurrent layers.

    Attributes:
        layers: from the bottom.
        kind: the class of network for such layers.
        modules: names of the modules of the layers, from the bottom.
        rest: the parameters of no layer, by name.
        dropped: a line on every copy of a parameter that is not used.
        names: for every layer the names of its parameters by kind, such as `weight_ih`.
        copies: names of those copies, and the parameter that each is a copy of.
        counts: layers of each module.
    """

    layers: list[LayerTensors]
    kind: type[StackedLanguageModel]
    modules: list[str]
    rest: dict[str, Floats]
    dropped: tuple[str, ...]
    names: list[dict[str, str]]
    copies: dict[str, str]
    counts: dict[str, int]


def find_layers(
    arrays: dict[str, Floats], configured: list[str] | None, layer_options: Mapping[str, int]
) -> Stack:
    """Finds the recurrent layers among the parameters of a model.

    Args:
        arrays: all of its parameters, by name.
        configured: the config's `layers`.
        layer_options: numbers of layers in options of the training run, by where in the file they
            were found.

    Raises:
        LayersUnknown: with the names that are missing or not understood.
    """
    grouped, rest, found = _grouped(arrays)
    if not grouped:
        raise LayersUnknown(
            "there is no recurrent layer: no parameter is called weight_ih or weight_hh"
        )
    kinds: dict[str, type[StackedLanguageModel]] = {}
    for module, layers in grouped.items():
        kinds |= {
            _label(module, index): _kind(_label(module, index), module, layers[index])
            for index in layers
        }
        if absent := sorted(set(range(max(layers) + 1)) - set(layers)):
            raise LayersUnknown(
                f"of the layers of '{module}', only {sorted(layers)} are there: layer "
                f"{', '.join(map(str, absent))} is missing"
            )
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{label}: {kind.cell.upper()}" for label, kind in kinds.items())
        raise LayersUnknown(f"the layers are not of one kind ({shown})")
    _refuse_partial(grouped)
    shapes = [array.shape for array in rest.values() if array.ndim == 2]
    try:
        names = order_modules(grouped, shapes, rest, configured)
    except OrderUnknown as error:
        raise LayersUnknown(str(error)) from error
    ordered = [grouped[name][index] for name in names for index in sorted(grouped[name])]
    if layer_options and configured is None and len(ordered) not in layer_options.values():
        shown = ", ".join(f"'{where}' = {number}" for where, number in layer_options.items())
        raise LayersUnknown(
            f"{len(ordered)} recurrent layer{'s are' if len(ordered) > 1 else ' is'} in the file, "
            "and its options speak "
            f"of another number ({shown}): a layer is missing? If the weights are complete, list "
            "their modules in the config: "
            f'{{"layers": {json.dumps(names)}}}'
        )
    return Stack(
        ordered,
        next(iter(kinds.values())),
        names,
        rest,
        tuple(found.dropped),
        [found.names[name, index] for name in names for index in sorted(grouped[name])],
        found.copies,
        {name: len(layers) for name, layers in grouped.items()},
    )


@dataclass(frozen=True)
class _Names:
    """Names in the file.

    Attributes:
        names: by module and layer, those of its parameters by kind.
        dropped: a line on every copy that is not used.
        copies: the copies, and what each is a copy of.
    """

    names: dict[tuple[str, int], dict[str, str]]
    dropped: list[str]
    copies: dict[str, str]


def _grouped(arrays: dict[str, Floats]) -> tuple[Grouped, dict[str, Floats], _Names]:
    """Parameters by module, layer and kind; those of no layer; and the names of all."""
    grouped: Grouped = {}
    rest, found = {}, _Names({}, [], {})
    raw: set[tuple[str, int, str]] = set()
    origin: dict[tuple[str, int, str], str] = {}
    # AWD-LSTM names: `rnns.0.module.weight_hh_l0` is a dropped copy of the true
    # `rnns.0.weight_hh_l0_raw`.
    for name in sorted(arrays, key=lambda each: not each.endswith("_raw")):
        match = _GATE.match(name)
        if match is None:
            continue
        if match["reverse"]:
            raise LayersUnknown(
                f"'{name}' belongs to a bidirectional layer; a language model reads one way"
            )
        module, index = match["module"].removesuffix(".module"), int(match["layer"] or 0)
        key = (module, index, match["kind"])
        if key not in origin:
            origin[key] = name
            raw |= {key} if match["raw"] else set()
        elif key in raw:
            found.copies[name] = origin[key]
            found.dropped.append(
                f"{name} {arrays[name].shape}, a copy with dropout of '{origin[key]}'"
            )
        elif np.array_equal(arrays[name], arrays[origin[key]]):
            found.copies[name] = origin[key]
            found.dropped.append(f"{name} {arrays[name].shape}, the same as '{origin[key]}'")
        else:
            raise LayersUnknown(
                f"'{name}' and '{origin[key]}' are both {match['kind']} of "
                f"{_label(module, index)}, and differ"
            )
    taken = {name: key for key, name in origin.items()}
    for name, array in arrays.items():
        if name in taken:
            module, index, kind = taken[name]
            grouped.setdefault(module, {}).setdefault(index, {})[kind] = array
            found.names.setdefault((module, index), {})[kind] = name
        elif _GATE.match(name) is None:
            rest[name] = array
    return grouped, rest, found


def _refuse_partial(grouped: Grouped) -> None:
    """Refuses a layer with one bias of two, and biases or projections in only some of the layers.

    Raises:
        LayersUnknown: with the layers that lack a part.
    """
    parts: dict[str, list[str]] = {"bias_ih": [], "bias_hh": [], "weight_hr": []}
    every = [_label(module, index) for module, layers in grouped.items() for index in layers]
    for module, layers in grouped.items():
        for index, layer in layers.items():
            for part in parts.keys() & layer.keys():
                parts[part].append(_label(module, index))
    for part, having in parts.items():
        wanted = (
            parts["bias_hh"]
            if part == "bias_ih"
            else parts["bias_ih"]
            if part == "bias_hh"
            else having
        )
        lacking = [label for label in every if label not in having and (label in wanted or having)]
        if lacking:
            raise LayersUnknown(
                f"{part} is missing in {', '.join(lacking)}: torch's layers have both biases or "
                "none, and all have them or none "
                f"has; {', '.join(having or wanted)} "
                f"{'has' if len(having or wanted) == 1 else 'have'} one"
            )


def _label(module: str, index: int) -> str:
    return f"{module or 'recurrent'} layer {index}"


def _kind(label: str, module: str, layer: LayerTensors) -> type[StackedLanguageModel]:
    """LSTM or GRU, by the number of gates.

    Raises:
        LayersUnknown: when it is neither, or its name contradicts the number.
    """
    if absent := [part for part in ("weight_ih", "weight_hh") if part not in layer]:
        raise LayersUnknown(
            f"{label} lacks weight_ih or weight_hh: {' and '.join(absent)} is missing"
        )
    if layer["weight_ih"].ndim != 2 or layer["weight_hh"].ndim != 2:
        raise LayersUnknown(f"{label} has a weight_ih or weight_hh that is no matrix")
    rows, width = layer["weight_hh"].shape
    gates = 4 if "weight_hr" in layer else rows / max(width, 1)
    kind = _CELLS.get(int(gates)) if gates == int(gates) else None
    if kind is None:
        what = "a plain RNN" if gates == 1 else "neither LSTM nor GRU"
        raise LayersUnknown(
            f"{label} is {what}: weight_hh has {rows} rows for {width} units, an LSTM has "
            f"{4 * width}, a GRU {3 * width}"
        )
    claimed = re.search("lstm|gru", module, re.IGNORECASE)
    if claimed is not None and claimed[0].lower() != kind.cell:
        raise LayersUnknown(
            f"{label} is called {claimed[0].upper()}, but its weight_hh has the {rows} rows of a "
            f"{kind.cell.upper()} with "
            f"{width} units; if it is a plain torch {kind.cell.upper()}, say so by `rename` in the "
            "config"
        )
    return kind
