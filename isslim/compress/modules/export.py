"""From a module and recorded inputs to an ONNX graph that computes the same.

The module itself is only read: a copy is run and traced, with an initialiser for each parameter.
Where these are in the graph is noted (`origins`); then what is computed from them alone is folded,
and what an embedding and its decoder share is stored once (`tying`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from isslim.compress.errors import ModuleRefused
from isslim.compress.kinds.graphs.comparing import difference
from isslim.compress.modules.attributes import layers_of_one_number
from isslim.compress.modules.calls import (
    Signature,
    as_arrays,
    flat_outputs,
    free_sizes,
    is_finite,
    read_calls,
)
from isslim.compress.modules.checks import path_of, refuse_unsupported, shared_parameters
from isslim.compress.modules.cut import Cut, cut_module
from isslim.compress.modules.exporter import traced_graph
from isslim.compress.modules.origins import Origins, read_origins
from isslim.compress.modules.removable import refuse_unremovable, shrinking_nodes
from isslim.compress.modules.running import Outputs, run_calls
from isslim.compress.modules.states import PassedStates
from isslim.compress.modules.tying import read_untransposed, tie
from isslim.compress.modules.values import not_trained
from isslim.compress.onnx.model.split_model import (
    graphs,
    merge_constants,
    nodes,
    split_constants,
)
from isslim.compress.onnx.model.stacks import write_stacks
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.normal_form import drop_unread
from isslim.compress.onnx.normalise.onnx_reader import simplified
from isslim.runtime.errors import GraphRefused, InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession, NamedArrays

TOLERANCE = 1e-4
"""Largest difference between module and graph, relative to the output's largest entry where that
is above 1: float32 sums in different orders."""
_PREFIX = "module"
"""The attribute of the traced wrapper that holds the module."""


@dataclass(frozen=True)
class ExportedModule:
    """A module as a graph, and what is needed to find its parameters in it again.

    Attributes:
        path: of the graph.
        recorded: the recorded inputs by the names of the graph's inputs. An argument that does
            not reach the outputs is none.
        outputs: names of the graph's outputs.
    """

    path: Path
    recorded: list[NamedArrays]
    outputs: tuple[str, ...]
    _calls: list[NamedArrays]
    _module: nn.Module
    _signature: Signature
    _origins: Origins
    _states: PassedStates

    @property
    def module(self) -> nn.Module:
        """The copy of the module that is kept; it stays as it is."""
        return self._module

    def cut(self, network: GraphNetwork) -> nn.Module:
        """The module at the size of a network that was made of its graph.

        The result is in evaluation mode, trainable, and equals the network's graph on the recorded
        inputs. Where the layers or directions of one nn.LSTM, nn.GRU or nn.RNN keep different
        numbers of units, all have the largest of them, and the others units without weights.

        Args:
            network: read from `path` and made smaller.

        Raises:
            ModuleNotCut: when the module cannot express it, or its code needs the old sizes.
        """
        cut = Cut(
            self._module,
            self._signature,
            self._origins,
            self._states,
            self._calls,
            self.outputs,
        )
        return cut_module(cut, network)

    def not_trained(self, network: GraphNetwork) -> set[str]:
        """Constants of a network of its graph that training leaves alone; see `values`."""
        trained = [name for name, _ in self._module.named_parameters()]
        return not_trained(network.trace.parts, self._origins, trained)


def export_module(module: nn.Module, inputs: Sequence[Any], path: Path) -> ExportedModule:
    """Exports a module to ONNX and compares the graph with it on all recorded inputs.

    Dimensions whose sizes differ among the inputs are free in the graph, others are fixed.

    Args:
        module: in evaluation mode, on the CPU, float32; nothing of it is changed.
        inputs: calls of the module, one each: the only argument, a tuple or list of positional
            arguments, or a mapping of arguments by name.
        path: of the ONNX file to write.

    Raises:
        ModuleRefused: when it cannot be exported, in its own words.
        NothingRemovable: when all of its layers keep their units.
        GraphNotUnderstood: when its graph has an operator that is not understood.
    """
    refuse_unsupported(module)
    signature, calls = read_calls(module, inputs)
    # Two copies: what is run may keep something of its inputs.
    own = _copied(module)
    with torch.random.fork_rng(devices=[]):
        results, states = run_calls(own, signature, calls)
    outputs = tuple(name if name not in signature.names else f"{name}_" for name, _ in results[0])
    free = dict(zip(signature.names, free_sizes(calls), strict=True))
    free |= _free_outputs(outputs, results, free, calls)
    model = _traced(own, signature, calls, outputs, free)
    origins = read_origins(model, dict(_parameters(own)))
    tie(model, shared_parameters(module))
    # Folded, so that a comparison of file sizes is one of weights.
    model = simplified(model)
    network = GraphNetwork.from_model(model)
    write_stacks(model, _stacks(own, origins, network))
    path.write_bytes(model.SerializeToString())
    arrays = [as_arrays(signature.names, tensors) for tensors in calls]
    read = [port.name for port in model.graph.input]
    recorded = [{name: each[name] for name in read} for each in arrays]
    wanted = [as_arrays(outputs, [tensor for _, tensor in made]) for made in results]
    _verify(module, path, recorded, wanted)
    refuse_unremovable(own, network, origins, states, outputs)
    return ExportedModule(
        path, recorded, outputs, arrays, _copied(module), signature, origins, states
    )


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever its parts raise
        raise ModuleRefused(
            f"{type(module).__name__} cannot be copied (`copy.deepcopy`), and only a copy is run: "
            f"{error}"
        ) from error


def _parameters(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters, and the buffers of numbers; shared ones under each of their names."""
    seen: set[tuple[int, str]] = set()
    for prefix, part in module.named_modules():
        tensors = [*part._parameters.items(), *part._buffers.items()]
        for name, tensor in tensors:
            if tensor is not None and tensor.is_floating_point():
                full = f"{prefix}.{name}" if prefix else name
                if (id(part), name) not in seen:
                    seen.add((id(part), name))
                    yield full, tensor.detach()


def _free_outputs(
    outputs: Sequence[str],
    results: Sequence[Outputs],
    free: Mapping[str, Mapping[int, str]],
    calls: Sequence[tuple[Tensor, ...]],
) -> dict[str, dict[int, str]]:
    """The dimensions of outputs that differ, named like those of inputs of the same sizes."""
    together = [
        (*tensors, *(tensor for _, tensor in made))
        for tensors, made in zip(calls, results, strict=True)
    ]
    ranks = {tuple(tensor.dim() for tensor in each) for each in together}
    if len(ranks) > 1:
        raise ModuleRefused("an output has not the same number of dimensions for all inputs")
    return dict(zip(outputs, free_sizes(together)[len(free) :], strict=True))


class _Flat(nn.Module):
    """A module with tensors as its only arguments and outputs."""

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module = module
        self._signature = signature

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Calls the module on the tensors of a call."""
        with _unpacked(self.module) as unpacked:
            made = self._signature.call(self.module, tensors)
        return (*(tensor for _, tensor in flat_outputs(self.module, made)), *unpacked)


@contextmanager
def _unpacked(module: nn.Module) -> Iterator[list[Tensor]]:
    """The outputs of layers that ran on packed sequences, padded.

    The exporter fails on a packed sequence that is never padded again, as where a classifier reads
    the last state only: these outputs are exported too, and then taken away.
    """
    found: list[Tensor] = []

    def after(layer: nn.Module, _: Any, made: Any) -> None:
        if isinstance(made, tuple) and isinstance(made[0], PackedSequence):
            found.append(pad_packed_sequence(made[0], bool(layer.batch_first))[0])

    layers = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    handles = [layer.register_forward_hook(after) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _traced(
    module: nn.Module,
    signature: Signature,
    calls: Sequence[tuple[Tensor, ...]],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
) -> ModelProto:
    """The graph of the largest call, with the module's own names and every parameter apart."""
    largest = max(calls, key=lambda tensors: sum(tensor.numel() for tensor in tensors))
    with _untied(module):
        wrapper = _Flat(module, signature).eval()
        try:
            model = traced_graph(wrapper, largest, signature.names, outputs, free)
        except Exception as error:  # of the exporter, or of the user's code while it is traced
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModuleRefused(
                f"{type(module).__name__} cannot be exported to ONNX by torch: {first}"
            ) from error
    _own_names(model)
    for port in [port for port in model.graph.output if port.name not in outputs]:
        model.graph.output.remove(port)
    read_untransposed(model, [name for group in shared_parameters(module) for name in group])
    parts = split_constants(model)
    drop_unread(parts)
    return merge_constants(parts)


@contextmanager
def _untied(module: nn.Module) -> Iterator[None]:
    """Gives every module that shares a parameter its own, for a while."""
    before = []
    for _, *others in shared_parameters(module):
        for name in others:
            prefix, _, attribute = name.rpartition(".")
            owner = module.get_submodule(prefix)
            parameter = owner._parameters[attribute]
            assert parameter is not None
            before.append((owner, attribute, parameter))
            setattr(owner, attribute, nn.Parameter(parameter.detach().clone(), False))
    try:
        yield
    finally:
        for owner, attribute, parameter in before:
            setattr(owner, attribute, parameter)


def _own_names(model: ModelProto) -> None:
    """Takes the wrapper's attribute off the names of nodes, values and initialisers; in place."""
    graph = model.graph
    names = {name for node in nodes(graph) for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in graph.initializer}
    new = {name: _shortened(name) for name in names}
    taken = set(names)
    for name, short in new.items():
        # An initialiser may be called as an input of the graph is: it keeps the longer name.
        if short in taken:
            new[name] = name
        taken.add(new[name])
    for node in nodes(graph):
        node.name = _shortened(node.name)
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for each in graphs(graph):  # branches and bodies have outputs of their own
        for port in (*each.initializer, *each.output, *each.input, *each.value_info):
            port.name = new.get(port.name, port.name)


def _shortened(name: str) -> str:
    # Parts of an nn.Sequential are written with the path that leads to them: `/module.2/`.
    for prefix in (f"/{_PREFIX}/", f"/{_PREFIX}."):
        name = name.replace(prefix, "/", 1) if name.startswith(prefix) else name
    return name.removeprefix(f"{_PREFIX}.")


def _stacks(module: nn.Module, origins: Origins, network: GraphNetwork) -> list[list[str]]:
    """Recurrent nodes that need one number of units.

    Those of every nn.LSTM, nn.GRU and nn.RNN, and of several whose number is one attribute of the
    module, where all of these can shrink.
    """
    parts = dict(module.named_modules())
    found: dict[str, list[str]] = {}
    for node, owner in origins.layers.items():
        if isinstance(parts.get(owner), nn.RNNBase):
            found.setdefault(owner, []).append(node)
    free = shrinking_nodes(network)
    stacks = list(found.values())
    for layers in layers_of_one_number(module):
        nodes_of = [node for layer in layers for node in found.get(layer, [])]
        if free.issuperset(nodes_of):
            stacks.append(nodes_of)
    return stacks


def _verify(
    module: nn.Module,
    path: Path,
    recorded: Sequence[NamedArrays],
    wanted: Sequence[NamedArrays],
) -> None:
    """Compares the graph in ONNX Runtime with the module's own outputs.

    Calls that hold NaN or infinite numbers are left out: what becomes of these is up to a runtime.
    """
    name = type(module).__name__
    runs = list(zip(recorded, wanted, strict=True))
    if not any(is_finite(run) for run, _ in runs):
        raise ModuleRefused(f"every call of {name} holds NaN or infinite numbers")
    try:
        session = GraphSession(path)
        for number, (run, expected) in enumerate(runs):
            if not is_finite(run):
                continue
            found = session.run(session.checked(run))
            for output, value in expected.items():
                error = difference([{output: found[output]}], [{output: value}])
                if not error <= TOLERANCE:
                    raise ModuleRefused(
                        f"the exported graph gives other outputs than {name} for inputs[{number}]: "
                        f"'{output}' {_by(error)}. {_causes(module)}"
                    )
    except (GraphRefused, InputsRefused) as error:
        raise ModuleRefused(
            f"ONNX Runtime cannot run the exported graph of {name} on its inputs: {error}. "
            f"{_causes(module)}"
        ) from error


def _by(error: float) -> str:
    if math.isfinite(error):
        return f"differs by {error:.2e}, where {TOLERANCE:.0e} is allowed"
    return "is NaN or infinite in one of them only"


def _causes(module: nn.Module) -> str:
    """What may be the reason for a graph that is not its module."""
    causes = [
        "forward decides or loops in Python by what a tensor holds or by its size, which a graph "
        "repeats as it was for one input",
        "torch's exporter writes an operator otherwise (`pad_packed_sequence` with a "
        "`padding_value` other than 0 is one)",
    ]
    attending = [
        path_of(module, name)
        for name, part in module.named_modules()
        if isinstance(part, nn.MultiheadAttention)
    ]
    if attending:
        causes.insert(
            0,
            f"{attending[0]} is an nn.MultiheadAttention, whose exported form has fixed sizes: "
            "record calls of one size, or write the attention by matrix products",
        )
    return f"Possible causes: {'; '.join(causes)}"
