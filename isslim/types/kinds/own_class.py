"""Code that builds the sender's own class with smaller numbers, and loads its state dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isslim.types.kinds.description import Program
from isslim.types.same_form import ModuleChange, SameForm

_CODE = """\
from safetensors.torch import load_file
from torch import nn


class Small(nn.Module):  # your own class: only these numbers change
    def __init__(self):
        super().__init__()
{modules}

model = Small()
model.load_state_dict(load_file("{file}"), strict={strict})
"""

_MODULE = """\
import isslim.torch
from your_code import {name}  # the class that was compressed

# Built with any numbers of units: the module comes back with those of the small one.
model = isslim.torch.load(".", model={name}(...))
"""
_NUMBERS = """
# The same without isslim, where these numbers are arguments of {name}:
{changes}# model.load_state_dict(safetensors.torch.load_file("{file}"), strict=False)
"""


def own_module_program(same: SameForm) -> Program:
    """A module of the sender's own class with the weights of the small one.

    Args:
        same: what changes, from the report.
    """
    code = _MODULE.format(name=same.module_class)
    if same.modules:
        lines = [
            f"# {each.name}: {each.code_before} -> {each.code_after}\n" for each in same.modules
        ]
        code += _NUMBERS.format(name=same.module_class, changes="".join(lines), file=same.file)
    return Program("PyTorch, in your own class", ("isslim[compress]",), code)


def own_class_program(same: SameForm) -> Program:
    """A class with the modules of the upload, each in its new size.

    Args:
        same: what changes, from the report.
    """
    lines = [
        line for name, changes in _by_first(same.modules).items() for line in _lines(name, changes)
    ]
    if same.tied:
        lines.append(f"self.{same.modules[-1].name}.weight = self.{same.modules[0].name}.weight")
    # A class of these modules alone lacks the tensors that they do not use, and the sender's has
    # them.
    code = _CODE.format(
        modules="".join(f"        {line}\n" for line in lines),
        file=same.file,
        strict=not same.unchanged,
    )
    return Program("Your own class, with smaller numbers", ("torch", "safetensors"), code)


def _by_first(changes: Sequence[ModuleChange]) -> Mapping[str, list[ModuleChange]]:
    """The modules by the first part of their names, in their order."""
    found: dict[str, list[ModuleChange]] = {}
    for each in changes:
        found.setdefault(each.name.partition(".")[0], []).append(each)
    return found


def _lines(name: str, changes: Sequence[ModuleChange]) -> list[str]:
    """The assignment of one attribute: a module, a list of modules, or a module of modules."""
    if [each.name for each in changes] == [name]:
        return [f"self.{name} = {changes[0].code_after}  # before: {changes[0].code_before}"]
    rest = [each.name.partition(".")[2] for each in changes]
    if rest == [str(number) for number in range(len(rest))]:
        inside = [f"    {each.code_after},  # before: {each.code_before}" for each in changes]
        return [
            f"self.{name} = nn.ModuleList(",
            "    [",
            *(f"    {each}" for each in inside),
            "    ]",
            ")",
        ]
    inner = [each.model_copy(update={"name": own}) for each, own in zip(changes, rest, strict=True)]
    nested = [line for own, some in _by_first(inner).items() for line in _lines(own, some)]
    return [
        f"self.{name} = nn.Module()",
        *(line.replace("self.", f"self.{name}.", 1) for line in nested),
    ]
