"""A module with parameters of other sizes: the same class, the same code, fewer units."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isslim.compress.errors import ModuleNotCut
from isslim.compress.modules.checks import path_of, shared_parameters


def resize_module(module: nn.Module, arrays: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a module with other parameters, its layers' own sizes set accordingly.

    A parameter that several modules share stays shared, unless each of its names has a value of its
    own in `arrays`. A layer without a bias gets one where `arrays` names it. Sizes that the user's
    own code keeps (`self.hidden`) stay as they are; see `attributes`.

    Args:
        module: it stays as it is.
        arrays: new values by the names of parameters and buffers, of any sizes; others stay.

    Raises:
        ModuleNotCut: when a name is not one of the module's.
    """
    small = copy.deepcopy(module)
    for group in shared_parameters(small):
        given = [name for name in group if name in arrays]
        if given:
            _set_shared(small, group, arrays)
        arrays = {name: value for name, value in arrays.items() if name not in group}
    for name, value in arrays.items():
        _set_one(small, name, value)
    for part in small.modules():
        for kind, fit in _FITS.items():
            if isinstance(part, kind):
                fit(part)
    return small


def _set_shared(module: nn.Module, names: Sequence[str], arrays: Mapping[str, Tensor]) -> None:
    """Sets a parameter that several modules share."""
    first = next(name for name in names if name in arrays)
    one = _parameter(module, first, arrays[first])
    for name in names:
        # Those without a value of their own, or with an equal one, go on sharing.
        own = arrays.get(name)
        same = own is None or torch.equal(own, one)
        _set(module, name, one if own is None or same else _parameter(module, name, own))


def _set_one(module: nn.Module, name: str, value: Tensor) -> None:
    """Sets a parameter or buffer that one module owns."""
    prefix, _, attribute = name.rpartition(".")
    owner = _owner(module, prefix, name)
    if attribute in owner._buffers:
        setattr(owner, attribute, value.clone())
    elif attribute in owner._parameters:
        _set(module, name, _parameter(module, name, value))
    elif isinstance(owner, nn.RNNBase) and attribute.startswith("bias_"):
        owner.register_parameter(attribute, nn.Parameter(value.clone()))
    else:
        raise ModuleNotCut(f"{path_of(module, name)} is no parameter or buffer")


def _owner(module: nn.Module, prefix: str, name: str) -> nn.Module:
    try:
        return module.get_submodule(prefix)
    except AttributeError as error:
        raise ModuleNotCut(f"{path_of(module, name)} is no parameter or buffer") from error


def _parameter(module: nn.Module, name: str, value: Tensor) -> nn.Parameter:
    """A new parameter, trained or not as the one of this name is; a new bias is trained."""
    prefix, _, attribute = name.rpartition(".")
    old = _owner(module, prefix, name)._parameters.get(attribute)
    return nn.Parameter(value.detach().clone(), True if old is None else old.requires_grad)


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    prefix, _, attribute = name.rpartition(".")
    setattr(_owner(module, prefix, name), attribute, parameter)


def _recurrent(layer: Any) -> None:
    rows = [
        [
            f"{name}_l{index}{suffix}"
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        ]
        for index in range(layer.num_layers)
        for suffix in ("", "_reverse")[: 1 + layer.bidirectional]
    ]
    biased = not layer.bias and any(name in layer._parameters for row in rows for name in row[2:4])
    if biased:  # all have biases where one has
        for row in rows:
            for name in row[2:4]:
                if name not in layer._parameters:
                    zeros = torch.zeros(layer._parameters[row[0]].shape[0])
                    layer.register_parameter(name, nn.Parameter(zeros))
        layer.bias = True
        layer._all_weights = [[name for name in row if name in layer._parameters] for row in rows]
        layer._flat_weights_names = [name for row in layer._all_weights for name in row]
        layer._flat_weights = [layer._parameters[name] for name in layer._flat_weights_names]
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    layer.input_size = layer.weight_ih_l0.shape[1]
    layer.hidden_size = layer.weight_ih_l0.shape[0] // gates
    if layer.proj_size:
        layer.proj_size = layer.weight_hr_l0.shape[0]


def _linear(layer: Any) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _embedding(layer: Any) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


def _convolution(layer: Any) -> None:
    first, second = layer.weight.shape[:2]
    # One group for each channel: there are as many groups as channels are left.
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    if layer.transposed:
        layer.groups = first if depthwise else layer.groups
        layer.in_channels, layer.out_channels = first, second * layer.groups
    else:
        layer.groups = (
            first * layer.in_channels // layer.out_channels if depthwise else layer.groups
        )
        layer.in_channels, layer.out_channels = second * layer.groups, first


def _batch_norm(layer: Any) -> None:
    known = [layer.weight, layer.running_mean]
    sizes = [tensor.shape[0] for tensor in known if tensor is not None]
    layer.num_features = sizes[0] if sizes else layer.num_features


def _layer_norm(layer: Any) -> None:
    if layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)


def _group_norm(layer: Any) -> None:
    if layer.weight is not None:
        layer.num_channels = layer.weight.shape[0]


def _prelu(layer: Any) -> None:
    layer.num_parameters = layer.weight.shape[0]


_FITS: dict[Any, Callable[[Any], None]] = {
    nn.RNNBase: _recurrent,
    nn.Linear: _linear,
    (nn.Embedding, nn.EmbeddingBag): _embedding,
    nn.modules.conv._ConvNd: _convolution,
    nn.modules.batchnorm._NormBase: _batch_norm,
    (nn.LayerNorm, nn.RMSNorm): _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.PReLU: _prelu,
}
"""How the attributes of a layer follow from its parameters."""
