"""What a working folder holds to be resumed from: only what the same request left there.

A folder may be used for one compression after the other. What is kept in it on the way is of one
model, its data and its options: networks of another one would be taken for what is left of this.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from isslim.compress.kinds.upload import UploadedFiles
from isslim.store.files import atomic_file, sha256_of
from isslim.types.names import CHECKPOINT_NOTE, CHECKPOINTS
from isslim.types.recipe import Recipe


def keep_own(folder: Path, files: UploadedFiles, recipe: Recipe) -> None:
    """Deletes what a compression of another model, of other data or with other options left.

    Args:
        folder: the working folder; made where it is not there.
        files: the model and its data.
        recipe: the options that take effect.

    Raises:
        OutOfSpace: when the disk is full.
    """
    found = hashlib.sha256(recipe.model_dump_json().encode())
    for field in type(files).model_fields:
        file = getattr(files, field)
        if isinstance(file, Path):
            found.update(f"\n{field} {sha256_of(file)}".encode())
    note = folder / CHECKPOINT_NOTE
    if note.exists() and note.read_text() == found.hexdigest():
        return
    for name in CHECKPOINTS:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(note) as partial:
        partial.write_text(found.hexdigest())
