"""The optional JSON beside the weights: what names and shapes leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from isslim.compress.errors import UnreadableUpload
from isslim.types.network_spec import NetworkSpec


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
        network: architecture and sizes, which the weights have to have; the JSON of a bundle
            (`compressed.json`) is read so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tied: bool | None = None
    one_hot: bool | None = None
    vocabulary: list[str] | None = None
    rename: dict[str, str] = {}
    layers: list[str] | None = None
    state: str | None = None
    drop: list[str] = []
    network: NetworkSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_spec(cls, given: Any) -> Any:
        """Takes the JSON that a bundle has beside its weights."""
        if not isinstance(given, dict) or "isslim" not in given:
            return given
        spec = NetworkSpec.model_validate(given)
        return {"tied": spec.tied, "network": spec}

    def check_network(self, found: NetworkSpec) -> None:
        """Compares the sizes that a bundle's JSON names with those of the weights beside it.

        Raises:
            UnreadableUpload: when they are of different networks.
        """
        if self.network is not None and self.network != found:
            raise UnreadableUpload(
                f"the config describes another network ({_sizes(self.network)}) than the weights "
                f"are of ({_sizes(found)}): send the JSON that lies beside them"
            )


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


def _sizes(spec: NetworkSpec) -> str:
    sizes = ", ".join(f"{name} {value}" for name, value in spec.spec.items() if value is not None)
    return f"{spec.architecture}: {sizes}"
