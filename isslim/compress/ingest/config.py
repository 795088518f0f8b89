"""The optional JSON beside the weights: what names and shapes leave open."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from isslim.compress.errors import UnreadableUpload


class UploadConfig(BaseModel):
    """The optional JSON beside the weights.

    Attributes:
        tied: whether the decoder shares the embedding's matrix; null: tied where both are in the
            file and equal.
        one_hot: whether the first layer reads one-hot vectors, without an embedding.
        vocabulary: the words, in the order of their ids.
        rename: from a parameter's name in the file to the name that this project understands.
        layers: the recurrent modules from the bottom to the top, where their names do not tell.
        state: of several models in a checkpoint, the one to take: its key, or what its parameters'
            names begin with.
        drop: tensors of the file that the model does not read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tied: bool | None = None
    one_hot: bool | None = None
    vocabulary: list[str] | None = None
    rename: dict[str, str] = {}
    layers: list[str] | None = None
    state: str | None = None
    drop: list[str] = []


def read_config(path: Path | None) -> UploadConfig:
    """The config of a file; the defaults without one.

    Raises:
        UnreadableUpload: when it is not the JSON that is expected, with every issue.
    """
    if path is None:
        return UploadConfig()
    try:
        return UploadConfig.model_validate_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        issues = [
            f"{'.'.join(map(str, issue['loc'])) or 'config'}: {issue['msg']}"
            for issue in error.errors()
        ]
        known = ", ".join(UploadConfig.model_fields)
        raise UnreadableUpload(
            f"the config is not the JSON that is expected: its keys are {known}", issues
        ) from error
