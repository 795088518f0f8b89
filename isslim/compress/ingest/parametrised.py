"""Computes reparametrised weights (weight norm, spectral norm, pruning masks) once and for all.

- masks of `torch.nn.utils.prune`: `weight_orig * weight_mask`
- weight normalisation: `weight_v * weight_g / |weight_v|`, and the same as
  `parametrizations.weight.original0` and `original1` (Salimans and Kingma, 2016)
- spectral normalisation: `weight_orig / (u' weight_orig v)`, and the same as
  `parametrizations.weight` (Miyato et al., 2018)
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from isslim.compress.errors import UnreadableUpload

_SUFFIX = re.compile(r"^(?P<base>.*?(?:weight|bias)\w*?)_(?P<part>orig|mask|g|v|u)$")
_PARAMETRIZED = re.compile(
    r"^(?P<module>(?:.*\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)$"
)
_REMOVE = (
    "`torch.nn.utils.parametrize.remove_parametrizations(module, 'NAME')` in all modules, then "
    "save the state_dict again"
)


def fold(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors with every weight as it is used.

    Args:
        tensors: of a state dict, by name.

    Returns:
        Tensors by name in their old order, and what was done in a line each.

    Raises:
        UnreadableUpload: when a part is missing, or a parametrization is one whose code would be
            needed.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in tensors:
        match = _PARAMETRIZED.match(name)
        if match is not None:
            groups.setdefault(match["module"] + match["name"], {})[match["part"]] = name
        elif (suffixed := _SUFFIX.match(name)) is not None:
            groups.setdefault(suffixed["base"], {})[suffixed["part"]] = name
    made: dict[str, tuple[Tensor, set[str]]] = {}
    done: dict[str, list[str]] = {}
    for base, parts in groups.items():
        what, weight = _weight(base, {part: tensors[name] for part, name in parts.items()})
        if base in tensors:
            raise UnreadableUpload(
                f"'{base}' is in the file, and so are its parts {', '.join(parts.values())}: keep "
                "one form"
            )
        made[next(iter(parts.values()))] = (weight, set(parts.values()))
        done.setdefault(what, []).append(base)
    gone = {name for _, names in made.values() for name in names}
    bases = {next(iter(parts.values())): base for base, parts in groups.items()}
    folded = {}
    for name, tensor in tensors.items():
        if name in made:  # the first part's place in the file, under the weight's own name
            folded[bases[name]] = made[name][0]
        elif name not in gone:
            folded[name] = tensor
    return folded, [f"{what} folded into {_listed(names)}" for what, names in done.items()]


def _weight(base: str, parts: dict[str, Tensor]) -> tuple[str, Tensor]:
    """What computes a weight, and the weight."""
    with torch.no_grad():
        if parts.keys() == {"orig", "mask"} and parts["orig"].shape == parts["mask"].shape:
            return "pruning masks", parts["orig"] * parts["mask"].to(parts["orig"].dtype)
        if parts.keys() == {"g", "v"}:
            return "weight norm", _normed(base, parts["g"], parts["v"])
        if parts.keys() == {"original0", "original1"}:
            return "weight norm", _normed(base, parts["original0"], parts["original1"])
        for weight, u, v in (("orig", "u", "v"), ("original", "0._u", "0._v")):
            if parts.keys() == {weight, u, v}:
                return "spectral norm", _spectral(base, parts[weight], parts[u], parts[v])
    if "orig" in parts or "mask" in parts:
        raise UnreadableUpload(
            f"'{base}' is pruned by torch.nn.utils.prune, and of `{base}_orig` and `{base}_mask` "
            "(of one shape) not both are in "
            "the file. Before saving: `torch.nn.utils.prune.remove(module, "
            f"'{base.rpartition('.')[2]}')`"
        )
    if parts.keys() & {"g", "v", "u"}:
        raise UnreadableUpload(
            f"'{base}' has weight norm, and of `{base}_g` and `{base}_v` not both are in the file. "
            "Before saving: "
            f"`torch.nn.utils.remove_weight_norm(module, '{base.rpartition('.')[2]}')`"
        )
    raise UnreadableUpload(
        f"'{base}' is computed by a parametrization ({', '.join(parts)}) whose code is not in the "
        "file. Before saving: " + _REMOVE.replace("NAME", base.rpartition(".")[2])
    )


def _normed(base: str, scale: Tensor, direction: Tensor) -> Tensor:
    """`v * g / |v|`, with the norm over all dimensions but that of `g`; over all for a scalar."""
    along = [index for index, size in enumerate(scale.shape) if size > 1]
    fitting = scale.numel() == 1 or (
        scale.dim() == direction.dim()
        and len(along) == 1
        and scale.shape[along[0]] == direction.shape[along[0]]
    )
    if not fitting:
        raise UnreadableUpload(
            f"the parts of '{base}' are no weight norm: a scale {tuple(scale.shape)} does not fit "
            f"{tuple(direction.shape)}"
        )
    wide = direction.double()
    over = [index for index in range(direction.dim()) if index not in along]
    norm = (wide.norm(dim=over, keepdim=True) if over else wide.abs()) if along else wide.norm()
    return (wide * (scale.double() / norm)).to(direction.dtype)


def _spectral(base: str, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The weight divided by the largest singular value that training last estimated."""
    matrix = weight.reshape(len(weight), -1).double()
    if u.shape != matrix.shape[:1] or v.shape != matrix.shape[1:]:
        raise UnreadableUpload(
            f"the parts of '{base}' are no spectral norm: {tuple(u.shape)}, {tuple(v.shape)}"
        )
    return (weight.double() / (u.double() @ matrix @ v.double())).to(weight.dtype)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
