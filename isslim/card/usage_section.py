"""The card's section on how the service is asked, by task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from isslim.card.markdown import table
from isslim.runtime.graphs.recorded_inputs import SAMPLES, NamedArrays, read_runs
from isslim.types.manifest import Manifest, TextContract

SHOWN = 64
"""Numbers that an example in the card may have; with more it is a file."""


def usage_section(folder: Path, manifest: Manifest) -> str:
    """How a model is asked.

    Args:
        folder: the bundle's files.
        manifest: of the bundle.
    """
    if manifest.text is not None:
        return _texts(manifest, manifest.text)
    if manifest.task == "graph":
        return _graph(manifest.name, read_runs((folder / SAMPLES).read_bytes())[0])
    return f"## How it is asked\n\n{_request_example('qa', {'model': manifest.name, 'question': '...', 'context': '...'})}"


def _texts(manifest: Manifest, text: TextContract) -> str:
    start = (
        f"`{text.start_token!r}`"
        if text.start_token
        else "nothing: the first token is given, not scored"
    )
    unknown = f"becomes `{text.unknown_token}`" if text.unknown_token else "is refused"
    body = {
        "model": manifest.name,
        "texts": ["..."],
        "variants": [variant.name for variant in manifest.variants],
    }
    return (
        "## How texts are read\n\n"
        f"One token is a {text.unit} of {text.vocabulary:,}; before the first stands {start}; what is not in the vocabulary "
        f"{unknown}. Perplexity is exp of the mean negative natural log-probability of all scored tokens.\n\n"
        f"{_request_example('score', body)}"
    )


def _graph(name: str, run: NamedArrays) -> str:
    rows = [[f"`{each}`", str(array.dtype), str(list(array.shape))] for each, array in run.items()]
    ways = f"`isslim run {name} inputs.npz` with an array for each input in the file, or:\n\n"
    path = f"models/{name}/run"
    if sum(array.size for array in run.values()) <= SHOWN:
        ways += _request_example(
            path, {"inputs": {each: array.tolist() for each, array in run.items()}}
        )
    else:
        ways += f"```\ncurl -s localhost:8000/{path} -H 'content-type: application/x-npz' --data-binary @inputs.npz\n```"
    head = ["input", "type", "shape in the run that was timed"]
    kept = (
        "Inputs and outputs have the names, types and shapes of the uploaded graph. Where a state goes in or out, what belongs "
        "to a removed unit is ignored on the way in and zero on the way out."
    )
    return f"## How it is run\n\n{table(head, rows)}\n\n{kept}\n\n{ways}"


def _request_example(path: str, body: Mapping[str, object]) -> str:
    content = json.dumps(body).replace("'", r"'\''")
    return f"```\ncurl -s localhost:8000/{path} -H 'content-type: application/json' \\\n  -d '{content}'\n```"
