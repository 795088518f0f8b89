"""Models of the Hugging Face Hub: bundles that are pushed there, uploads that come from there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from isslim.types.hiding import shown_address, without_credentials
from isslim.types.kinds.uploads import Companions

PREFIX = "hf://"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data", "*.pt", "*.pth", "pytorch_model.bin")
_COMPANIONS: dict[str, tuple[str, ...]] = {
    "config": ("config.json",),
    "vocabulary": ("tokenizer.json", "words.txt", "vocab.txt", "vocabulary.txt"),
    "vectors": ("vectors.npy",),
    "characters": ("characters.txt",),
}
"""Files that may come with a model, by the field of an upload; the first that is there counts."""


class SharingFailed(Exception):
    """A model could not be sent to another service, or fetched from it."""


@dataclass(frozen=True)
class HubUpload:
    """What a repository holds for a compression.

    Attributes:
        model: its only file of weights, or graph.
        companions: the files beside it.
    """

    model: Path
    companions: Companions


def is_hub_address(text: str) -> bool:
    """Whether a text names a repository of the Hub, as `hf://user/repo`."""
    return text.startswith(PREFIX)


def repository_of(address: str) -> str:
    """The repository that an address names.

    Raises:
        SharingFailed: when it is none.
    """
    name = address.removeprefix(PREFIX).rstrip("/")
    if not is_hub_address(address) or _REPOSITORY.fullmatch(name) is None:
        raise SharingFailed(f"'{shown_address(address)}' is no repository: expected hf://user/repo")
    return name


def push_folder(folder: Path, repository: str, *, private: bool = False) -> str:
    """Uploads a bundle as one commit; the repository is made if there is none.

    Args:
        folder: of the bundle.
        repository: `user/repo`.
        private: whether a repository that is made is private.

    Returns:
        The address of the commit.

    Raises:
        SharingFailed: when the Hub refuses it, or does not answer.
    """
    hub = _library()
    with _in_words(hub, repository):
        api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Compressed by isslim"
        )
    return shown_address(str(commit.commit_url))


@contextmanager
def fetched(repository: str) -> Iterator[HubUpload]:
    """The files of a repository that a compression needs, for the duration of the block.

    Args:
        repository: `user/repo`.

    Raises:
        SharingFailed: when the Hub does not hand them out, or there is no model, or several.
    """
    hub = _library()
    patterns = [*_WEIGHTS, *(name for names in _COMPANIONS.values() for name in names)]
    with TemporaryDirectory(prefix="isslim-") as folder:
        with _in_words(hub, repository):
            hub.snapshot_download(
                repository,
                allow_patterns=patterns,
                local_dir=folder,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        yield chosen(Path(folder).iterdir(), repository)


def chosen(files: Iterable[Path], repository: str) -> HubUpload:
    """The model among files, and what comes with it.

    Args:
        files: of the repository's first level.
        repository: for the message.

    Raises:
        SharingFailed: when there is no model, or several.
    """
    by_name = {path.name: path for path in files}
    models = [
        path
        for name, path in sorted(by_name.items())
        if any(path.match(pattern) for pattern in _WEIGHTS) and not name.endswith(".data")
    ]
    if len(models) > 1:  # the same weights in two forms: the safer one
        models = [path for path in models if path.suffix == ".safetensors"] or models
    if len(models) != 1:
        found = ", ".join(path.name for path in models) or "none"
        raise SharingFailed(
            f"{repository} has to hold one model ({', '.join(_WEIGHTS)}); found: {found}. Download "
            "it, and name the file"
        )
    (model,) = models
    companions: dict[str, Path] = {}
    for field, names in _COMPANIONS.items():
        there = [by_name[name] for name in names if name in by_name]
        if there:
            companions[field] = there[0]
    data = by_name.get(f"{model.name}.data")
    if data is not None:
        companions["model_data"] = data
    return HubUpload(model, Companions(**companions))  # type: ignore[typeddict-item]


def require_ascii(variable: str) -> None:
    """Refuses a token that no header can hold; it is not quoted.

    Args:
        variable: that may hold one.

    Raises:
        SharingFailed: naming the variable.
    """
    if not os.environ.get(variable, "").isascii():
        raise SharingFailed(
            f"{variable} holds no token: characters that are not ASCII are in it; copy it again"
        )


def _library() -> ModuleType:
    require_ascii("HF_TOKEN")
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise SharingFailed("the Hub needs `pip install 'isslim[hub]'`") from error
    # Standard error is for what matters.
    huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]
    return huggingface_hub


@contextmanager
def _in_words(hub: ModuleType, repository: str) -> Iterator[None]:
    """Turns the Hub's errors into a line.

    Args:
        hub: the library.
        repository: that is asked for.
    """
    try:
        yield
    except hub.errors.HfHubHTTPError as error:
        detail = error.server_message or str(error).splitlines()[0]
        raise SharingFailed(
            f"the Hub refuses {repository}: {without_credentials(detail)}; `hf auth login`, or "
            "HF_TOKEN, says who asks"
        ) from error
    except Exception as error:  # of the HTTP client that the library uses, whichever that is
        reason = without_credentials(str(error))  # it may quote HF_ENDPOINT
        raise SharingFailed(f"the Hub does not answer for {repository}: {reason}") from error
