"""The card's section on how to query the served model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from isslim.card.markdown import fenced, table
from isslim.types.kinds.description import ExampleInput, Served, Usage
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest
from isslim.types.recommendation import recommended
from isslim.types.same_form import SameForm

_ADDRESS = (
    "Where a service has this bundle, with the service's address in the variable `ISS_URL` (that "
    "of `isslim serve` is printed when it starts):"
)


def served_of(
    manifest: Manifest,
    inputs: Sequence[ExampleInput] = (),
    same_form: SameForm | None = None,
    *,
    has_weights: bool = False,
) -> Served:
    """The facts from which usage and code are explained.

    Args:
        manifest: of the bundle.
        inputs: of the recorded run that was timed; empty if the bundle holds none.
        same_form: what changes in the sender's own class; None: it was not requested.
        has_weights: whether the bundle holds the compressed network's weights for PyTorch.
    """
    variants = tuple(variant.name for variant in manifest.variants)
    file = (recommended(manifest.variants) or manifest.variants[-1]).file
    return Served(
        manifest.name, variants, file, manifest.text, tuple(inputs), has_weights, same_form
    )


def usage_section(task: str, served: Served) -> str:
    """How to query a model over HTTP, in the words of its kind.

    Args:
        task: name of the model's kind.
        served: the model.
    """
    usage = kind_named(task).usage(served)
    paragraphs = [f"## {usage.title}"]
    if usage.with_inputs:
        rows = [[f"`{each.name}`", each.dtype, str(list(each.shape))] for each in served.inputs]
        paragraphs.append(table(["input", "type", "shape in the run that was timed"], rows))
    paragraphs += [*([usage.text] if usage.text else []), _ADDRESS, _example(usage)]
    return "\n\n".join(paragraphs)


def _example(usage: Usage) -> str:
    """A request as a command line."""
    if usage.body is None:
        return fenced(
            f"curl -s \"$ISS_URL/{usage.path}\" -H 'content-type: application/x-npz' \\\n"
            "  --data-binary @inputs.npz",
            "sh",
        )
    content = json.dumps(usage.body).replace("'", r"'\''")
    return fenced(
        f"curl -s \"$ISS_URL/{usage.path}\" -H 'content-type: application/json' \\\n"
        f"  -d '{content}'",
        "sh",
    )
