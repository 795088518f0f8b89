"""The files of an upload: one list for form, job, client and worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, Field

File = TypeVar("File")


@dataclass(frozen=True)
class UploadText:
    """The texts of an upload field besides its description.

    Attributes:
        example: a file name.
        option: help text of the command line's option; empty: the description.
    """

    example: str
    option: str = ""


class UploadFields(BaseModel, Generic[File]):
    """A model's file and its companions; `File` is a reference, a path or an upload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[File, UploadText("model.pt")] = Field(
        description="safetensors, a PyTorch checkpoint of weights, or an ONNX graph"
    )
    model_data: Annotated[
        File | None,
        UploadText(
            "model.onnx.data",
            "data file of an .onnx graph saved as two; found automatically if it is next to the "
            "graph",
        ),
    ] = Field(
        default=None,
        description="the data file of an ONNX graph that was saved as two, as torch's exporter "
        "does",
    )
    config: Annotated[File | None, UploadText("config.json", "JSON beside the weights")] = Field(
        default=None, description="optional JSON beside the weights"
    )
    vocabulary: Annotated[File | None, UploadText("words.txt")] = Field(
        default=None, description="words or characters by id, or tokenizer.json"
    )
    vectors: Annotated[File | None, UploadText("vectors.npy")] = Field(
        default=None, description="word vectors of a question-answering model (npy)"
    )
    characters: Annotated[
        File | None,
        UploadText("characters.txt", "characters of a question-answering model, one a line"),
    ] = Field(default=None, description="characters of a question-answering model")
    train: Annotated[
        File | None,
        UploadText(
            "train.txt",
            "text, or questions in the form of SQuAD, to train on, in `learn` and in distillation; "
            "without it, --calibration, or what a language model writes",
        ),
    ] = Field(
        default=None,
        description="text or questions to train on, in `learn` and in distillation; if not sent, "
        "`calibration`, or for distillation what a language model writes",
    )
    calibration: Annotated[
        File | None,
        UploadText(
            "calibration.txt",
            "text, questions, or a graph's recorded inputs (npz) to calibrate on; without it, a "
            "model generates its own",
        ),
    ] = Field(
        default=None,
        description="text or questions on which activations are collected; also trained on "
        "where no `train` is sent",
    )
    held_out: Annotated[
        File | None, UploadText("valid.txt", "text, questions, or recorded inputs to evaluate on")
    ] = Field(default=None, description="text or questions on which quality is evaluated")
    check: Annotated[
        File | None,
        UploadText("test.txt", "text to which --check-perplexity refers; without it, --held-out"),
    ] = Field(
        default=None,
        description="text to which the perplexity in `check` of the options refers; if not "
        "sent, `held_out`",
    )
    check_graph: Annotated[
        File | None,
        UploadText(
            "export.onnx",
            "ONNX export of the same language model, which has to give the same results",
        ),
    ] = Field(
        default=None,
        description="ONNX export of the same language model: the checkpoint is refused if the "
        "model as read gives other results",
    )
    check_graph_data: Annotated[
        File | None,
        UploadText(
            "export.onnx.data",
            "data file of a --check-graph saved as two; found automatically if it is next to it",
        ),
    ] = Field(default=None, description="the data file of a `check_graph` saved as two")


class Companions(TypedDict, total=False):
    """The files of `UploadFields` that may come with a model, as keyword arguments."""

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
class UploadField:
    """One field of `UploadFields`.

    Attributes:
        name: in forms and requests.
        description: what belongs in it.
        example: a file name.
        option: help text of the command line's option.
        required: whether a request without it is refused.
    """

    name: str
    description: str
    example: str
    option: str
    required: bool


def _fields() -> Mapping[str, UploadField]:
    found = {}
    for name, info in UploadFields.model_fields.items():
        (text,) = (each for each in info.metadata if isinstance(each, UploadText))
        description = info.description or ""
        found[name] = UploadField(
            name, description, text.example, text.option or description, info.is_required()
        )
    return found


UPLOAD_FIELDS: Mapping[str, UploadField] = _fields()
"""By name, the model first."""
