"""What goes to the service and comes back beside JSON: files, a run of a graph, problems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from numpy.typing import NDArray


class Companions(TypedDict, total=False):
    """The files that may come with a model.

    Attributes:
        model_data: the data file of an ONNX graph that was saved as two; found by itself where it
            lies beside the model.
        config: optional JSON beside the weights.
        vocabulary: words or characters by id, or tokenizer.json.
        vectors: word vectors of a question-answering model (npy).
        characters: characters of a question-answering model, one a line.
        train: text, or questions in the form of SQuAD, to learn and fine-tune on.
        calibration: text, questions, or a graph's recorded inputs (npz) to observe.
        held_out: the same to judge on.
        check: text that the perplexity in `Recipe.check` is of; without, it is of `held_out`.
        check_graph: ONNX export of the same language model, which has to give the same.
        check_graph_data: its data file, where it was saved as two; found by itself where it lies
            beside it.
    """

    model_data: Path | None
    config: Path | None
    vocabulary: Path | None
    vectors: Path | None
    characters: Path | None
    train: Path | None
    calibration: Path | None
    held_out: Path | None
    check: Path | None
    check_graph: Path | None
    check_graph_data: Path | None


@dataclass(frozen=True)
class GraphRun:
    """One run of a graph by one variant.

    Attributes:
        outputs: by name.
        run_ms: in ONNX Runtime, this once.
    """

    outputs: dict[str, NDArray[Any]]
    run_ms: float


class ProblemError(Exception):
    """The service answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        kind: its slug.
        detail: what is wrong and what to do.
        errors: every issue.
    """

    def __init__(self, status: int, kind: str, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status, self.kind, self.detail, self.errors = status, kind, detail, errors
        super().__init__(f"{detail} ({kind}, {status})")


class Unreachable(Exception):
    """No service answers at the address, or something that is none."""
