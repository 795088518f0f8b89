"""If, Loop and Scan: their bodies are run as functions, step by step in Python.

The inputs of such a step are the node's own, then what its bodies read from outside, body by body.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import (
    Operator,
    Site,
    Step,
    Unsupported,
)
from isslim.compress.onnx.model.attributes import get_int, get_ints


def _branches(site: Site) -> Step:
    then, other = (site.bodies[name] for name in ("then_branch", "else_branch"))
    # In the order of the attributes in the file.
    then_first = next(iter(site.bodies)) == "then_branch"

    def step(condition: Tensor, *outer: Tensor) -> tuple[Tensor, ...]:
        count = len((then if then_first else other).captured)
        first, second = outer[:count], outer[count:]
        if bool(condition.reshape(())):
            return then.run(*(first if then_first else second))
        return other.run(*(second if then_first else first))

    return step


def _loop(site: Site) -> Step:
    body = site.bodies["body"]
    own, states = len(site.node.input), body.inputs - 2

    def step(*given: Tensor | None) -> tuple[Tensor, ...]:
        limit, condition, *carried = given[:own]
        going = condition is None or bool(condition.reshape(()))
        rounds = None if limit is None else int(limit)
        stacked: list[tuple[Tensor, ...]] = []
        count, device = 0, _device(given)
        while going and (rounds is None or count < rounds):
            # The whole state is that of the round before; the condition is that it goes on.
            made = body.run(
                *given[own:],
                torch.tensor(count, device=device),
                torch.tensor(True, device=device),
                *carried,
            )
            going, carried = bool(made[0].reshape(())), list(made[1 : 1 + states])
            stacked.append(made[1 + states :])
            count += 1
        if not stacked and len(site.node.output) > states:
            raise Unsupported("it runs no round, so that the shape of its outputs is not known")
        found = [each for each in carried if each is not None]
        return (*found, *(torch.stack(each) for each in zip(*stacked, strict=True)))

    return step


def _device(given: Sequence[Tensor | None]) -> torch.device | None:
    return next((each.device for each in given if each is not None), None)


def _scan(site: Site) -> Step:
    if site.opset < 9:
        raise Unsupported("before opset 9 it scans batches in a way that is not supported")
    body, own = site.bodies["body"], len(site.node.input)
    scanned = get_int(site.node, "num_scan_inputs", 0)
    states = own - scanned
    made_count = len(site.node.output) - states
    settings = [
        get_ints(site.node, f"scan_{which}") or [0] * count
        for which, count in (
            ("input_axes", scanned),
            ("input_directions", scanned),
            ("output_axes", made_count),
            ("output_directions", made_count),
        )
    ]
    in_axes, in_turned, out_axes, out_turned = settings

    def step(*given: Tensor) -> tuple[Tensor, ...]:
        carried = list(given[:states])
        sequences = [
            _in_order(x.unbind(axis), turned)
            for x, axis, turned in zip(given[states:own], in_axes, in_turned, strict=True)
        ]
        rows = []
        for entries in zip(*sequences, strict=True):
            made = body.run(*given[own:], *carried, *entries)
            carried, row = list(made[:states]), made[states:]
            rows.append(row)
        if not rows:
            raise Unsupported("it scans nothing, so that the shape of its outputs is not known")
        outputs = [
            torch.stack(_in_order(each, turned), axis)
            for each, axis, turned in zip(
                zip(*rows, strict=True), out_axes, out_turned, strict=True
            )
        ]
        return (*carried, *outputs)

    return step


def _in_order(entries: Sequence[Tensor], turned: int) -> tuple[Tensor, ...]:
    return tuple(reversed(entries)) if turned else tuple(entries)


OPERATORS = {
    "If": Operator(_branches, (0,)),
    "Loop": Operator(_loop, (0, 1)),
    "Scan": Operator(_scan),
}
"""By name."""
