"""The worker's own child, with a stand-in for the compression: stages of tenths of a second.

Everything around it is the child's own code: its files are fetched and checked, progress is told,
and a bundle is published. What it computes, a chain of hashes over the upload, is the same for the
same upload, whatever happened on the way. The real compression takes seconds for its imports alone,
of which a thousand kills would hit nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from isslim.store.bundles import BundleStore
from isslim.store.folders import id_of, seal
from isslim.types.inspection import Inspection
from isslim.types.manifest import Manifest
from isslim.types.provenance import Provenance
from isslim.types.recipe import Recipe

STEPS, STEP_SECONDS, STAGE_VARIABLE = 5, 0.12, "CHAOS_STEP_SECONDS"
"""Steps of the search, how long each takes, and the variable that names another time."""
RESULT, FOLDER = "result.txt", "CHAOS_FOLDER"
"""The file of a bundle with the result; the variable that names the folder of what is noted."""
_HELD: list[Any] = []
"""Open files whose locks last as long as this process."""


def result_of(content: bytes) -> str:
    """What is computed of an upload."""
    digest = content
    for _ in range(STEPS):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


class Refused(Exception):
    """In place of `isslim.compress.inspection.confined.UploadRefused`: nothing is."""


def read_confined(*_: Any) -> Inspection:
    """In place of `isslim.compress.inspection.confined.read_confined`."""
    return Inspection(understood=True)


def compress_files(
    inputs: Any, recipe: Recipe, work: Path, progress: Any, *others: Any
) -> SimpleNamespace:
    """In place of `isslim.compress.pipeline.compress_files`."""
    _note_overlap(recipe.name)
    pause = float(os.environ.get(STAGE_VARIABLE, STEP_SECONDS))
    progress.enter("search", "searching")
    _note(f"{recipe.name} search")
    work.mkdir(parents=True, exist_ok=True)
    for step in range(STEPS):
        progress(step / STEPS, f"step {step} of {STEPS}")
        (work / f"scratch-{step}").write_bytes(bytes(100_000))
        time.sleep(pause)
    folder = work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / RESULT).write_text(result_of(inputs.model.read_bytes()))
    (folder / "weights.bin").write_bytes(os.urandom(1 << 10) * 300)
    sealed(folder, recipe)
    progress.enter("publish", "publishing")
    _note(f"{recipe.name} publish")
    time.sleep(pause)
    return SimpleNamespace(folder=folder)


def stage(
    compressed: SimpleNamespace,
    bundles: BundleStore,
    progress: Any,
    announce: Callable[[str], None],
) -> str:
    """In place of `isslim.compress.pipeline.stage`."""
    announce(id_of(compressed.folder))
    bundle_id = bundles.stage(compressed.folder)
    progress(1.0, f"published {bundle_id}")
    return bundle_id


def sealed(folder: Path, recipe: Recipe) -> None:
    """Makes a bundle of a folder.

    Args:
        folder: with the result.
        recipe: of its job.
    """
    (folder / "README.md").write_text(f"# {recipe.name}\n")
    seal(folder, _manifest(recipe))


def _note(line: str) -> None:
    """Writes down what is done now, for those who make trouble."""
    with (Path(os.environ[FOLDER]) / "begun").open("a") as file:
        file.write(f"{line}\n")


def _note_overlap(job: str) -> None:
    """Writes down where another living process does the same job at this moment."""
    folder = Path(os.environ[FOLDER])
    held = (folder / f"{job}.lock").open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with (folder / "overlaps").open("a") as file:
            file.write(f"{job}\n")
    _HELD.append(held)


def _manifest(recipe: Recipe) -> Manifest:
    provenance = Provenance(
        upload_sha256="0" * 64,
        layout="none",
        calibration="none",
        held_out="none",
        versions={},
        machine="none",
        seconds={},
    )
    return Manifest(
        task="language-model",
        metric="perplexity",
        name=recipe.name,
        created_at=datetime.now(UTC),
        architecture="lstm-language-model",
        recipe=recipe,
        axes=[],
        variants=[],
        checks=[],
        provenance=provenance,
        files=[],
    )


def main() -> int:
    """Runs the worker's child on these stand-ins; returns its exit status."""
    stand_ins: dict[str, dict[str, Any]] = {
        "pipeline": {"compress_files": compress_files, "stage": stage},
        "kinds.registry": {"UploadedFiles": SimpleNamespace},
        "inspection.confined": {"read_confined": read_confined, "UploadRefused": Refused},
    }
    for name, content in stand_ins.items():
        module = ModuleType(f"isslim.compress.{name}")
        module.__dict__.update(content)
        sys.modules[module.__name__] = module
    from isslim.compress.worker.child import main as child

    return child(Path(sys.argv[1]), inspecting=sys.argv[2:] == ["inspect"])
