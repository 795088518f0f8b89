"""The card's section on how to query the model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from isslim.card.markdown import table
from isslim.types.kinds.description import ExampleInput, Served, Usage
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest


def usage_section(manifest: Manifest, inputs: Sequence[ExampleInput] = ()) -> str:
    """How to query a model, in the words of its kind.

    Args:
        manifest: of the bundle.
        inputs: of the recorded run that was timed; empty if the bundle holds none.
    """
    variants = tuple(variant.name for variant in manifest.variants)
    served = Served(manifest.name, variants, manifest.text, tuple(inputs))
    usage = kind_named(manifest.task).usage(served)
    paragraphs = [f"## {usage.title}"]
    if usage.with_inputs:
        rows = [[f"`{each.name}`", each.dtype, str(list(each.shape))] for each in inputs]
        paragraphs.append(table(["input", "type", "shape in the run that was timed"], rows))
    return "\n\n".join([*paragraphs, *([usage.text] if usage.text else []), _example(usage)])


def _example(usage: Usage) -> str:
    """A request as a command line."""
    if usage.body is None:
        return (
            f"```\ncurl -s localhost:8000/{usage.path} -H 'content-type: application/x-npz' "
            "--data-binary @inputs.npz\n```"
        )
    content = json.dumps(usage.body).replace("'", r"'\''")
    return (
        f"```\ncurl -s localhost:8000/{usage.path} -H 'content-type: application/json' \\\n"
        f"  -d '{content}'\n```"
    )
