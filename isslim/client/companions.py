"""The options of the files that may come with a model, declared once for all commands that upload."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer


def _option(text: str) -> Any:
    return Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help=text)]


OPTIONS = {
    "vocabulary": _option("words or characters by id, or tokenizer.json"),
    "vectors": _option("word vectors of a question-answering model (npy)"),
    "characters": _option("characters of a question-answering model, one a line"),
    "train": _option("text, or questions in the form of SQuAD, to learn and fine-tune on"),
    "calibration": _option(
        "text, questions, or a graph's recorded inputs (npz) to observe; without, a model makes its own"
    ),
    "held_out": _option("text, questions, or recorded inputs to judge on"),
    "config": _option("JSON beside the weights"),
    "check": _option("text that --check-perplexity is of; without, it is of --held-out"),
    "check_graph": _option("ONNX export of the same language model, which has to give the same"),
    "check_graph_data": _option(
        "data file of a --check-graph saved as two; found by itself where it lies beside it"
    ),
    "model_data": _option(
        "data file of an .onnx graph saved as two; found by itself where it lies beside the graph"
    ),
}


def with_companions(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options, which it takes as `**companions: Unpack[client.forms.Companions]`."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        each
        for each in signature.parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]

    @wraps(command)
    def whole(*arguments: Any, **named: Any) -> None:
        command(*arguments, **named)

    # typer reads both, and neither holds `**companions`.
    whole.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    whole.__annotations__ = {each.name: each.annotation for each in (*own, *options)}
    return whole
