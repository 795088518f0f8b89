"""Downloads the files of a model into a folder: all that were asked for, or none.

Every file is compared with the SHA-256 that the model's manifest has for it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from isslim.client.api import Client
from isslim.types.manifest import FileRecord, Manifest, VariantName

Part = Literal["weights", "onnx"]
_SUFFIXES: dict[Part, tuple[str, ...]] = {"weights": (".safetensors",), "onnx": (".onnx",)}
ALWAYS = ("manifest.json", "tokenizer.json", "words.txt", "vectors.npy", "characters.txt")
"""What the files are, and how text becomes their inputs: needed with any of
them."""


class NothingToPull(Exception):
    """The model has no file of the kind that was asked for; or they would replace others."""


def chosen_files(
    manifest: Manifest,
    files: Sequence[FileRecord],
    only: Part | None = None,
    variant: VariantName | None = None,
) -> list[FileRecord]:
    """The files to download, in the order of the list.

    Args:
        manifest: of the model.
        files: of the model, as the service lists them.
        only: PyTorch weights or ONNX graphs alone; None for every kind of file.
        variant: the graph and the weights of one variant alone; None for all.

    Raises:
        NothingToPull: when there is no such file.
    """
    if only is None and variant is None:
        return list(files)
    names = [each.path for each in files]
    if variant is not None:
        wanted = {name for name in names if name.startswith(f"{variant}.")}
        wanted |= {each.file for each in manifest.variants if each.name == variant}
        there = f"its variants: {', '.join(each.name for each in manifest.variants)}"
    else:
        assert only is not None
        wanted = {name for name in names if name.endswith(_SUFFIXES[only])}
        # Weights have their sizes beside them, under the same name.
        wanted |= {f"{name.removesuffix('.safetensors')}.json" for name in wanted} & set(names)
        there = f"its files: {', '.join(names)}"
    if not wanted:
        what = f"variant '{variant}'" if variant is not None else f"{only}"
        raise NothingToPull(f"the model '{manifest.name}' has no {what}; {there}")
    return [each for each in files if each.path in wanted or each.path in ALWAYS]


def pull(
    client: Client,
    model_id: str,
    files: Sequence[FileRecord],
    folder: Path,
    *,
    replace: bool = False,
    on_file: Callable[[FileRecord], None] | None = None,
) -> list[Path]:
    """Downloads files into a folder, which is made if there is none.

    Args:
        client: of the service that has the model.
        model_id: the model; a name could mean another one from one file to the next.
        files: which of its files.
        folder: takes them under their own names.
        replace: whether files that are there already may be replaced.
        on_file: called before each file.

    Returns:
        The files' paths, in the order in which they were given.

    Raises:
        NothingToPull: when a file is there already and must not be replaced.
        DamagedDownload: when another content than the listed one arrived.
        ProblemError: when the service refuses a file.
        OSError: of the folder, when it cannot be written.
    """
    paths = [folder.joinpath(*PurePosixPath(each.path).parts) for each in files]
    taken = [str(path) for path in paths if path.exists()]
    if taken and not replace:
        raise NothingToPull(f"already there: {', '.join(taken)}; --force replaces them")
    try:
        with _arriving(folder.resolve()) as arriving:
            for each in files:
                if on_file is not None:
                    on_file(each)
                target = arriving.joinpath(*PurePosixPath(each.path).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download(model_id, each.path, target)
            if not folder.exists():
                arriving.rename(folder.resolve())
            else:
                for each, path in zip(files, paths, strict=True):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    arriving.joinpath(*PurePosixPath(each.path).parts).replace(path)
    except OSError as error:
        # The folder that was asked for says more than the one that is gone again.
        raise OSError(error.errno, error.strerror, str(folder)) from error
    return paths


@contextmanager
def _arriving(folder: Path) -> Iterator[Path]:
    """A folder on the same disk for files that are still coming: what is whole is moved at once.

    It is in the final folder, or beside it while there is none.

    Args:
        folder: the final one, resolved: of `.` neither the name nor the parent would be known.
    """
    name = f".{folder.name}.{secrets.token_hex(4)}.partial"
    made = folder / name if folder.exists() else folder.with_name(name)
    made.parent.mkdir(parents=True, exist_ok=True)
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
