"""Files and requests whose structure was changed: each reader takes them or refuses them by name.

`python -m benchmarks.fuzz` damages by the million, each case by its number; these cases know what
they damage, and one that fails is made small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import seeds
from benchmarks.fuzz.__main__ import uploads_left
from benchmarks.fuzz.bodies import Asked, Requests, requests_to
from benchmarks.fuzz.running import MEMORY_BYTES
from benchmarks.fuzz.targets import REFUSALS, Target, file_targets
from isslim.compress.ingest.limits import memory_for
from tests.conftest import Published
from tests.hostile.containers import archives, checkpoints, npy_files
from tests.hostile.documents import json_files, word_lists
from tests.hostile.forms import forms
from tests.hostile.protobufs import onnx_files

EACH = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
FEW, MANY = (settings(EACH, derandomize=True, max_examples=count) for count in (30, 600))
OTHERS = settings(EACH, max_examples=3000)
"""Other examples with every run, which may find what those before did not: nobody's change has to
wait for that."""


def is_json(content: bytes) -> bool:
    return content[:1] in (b"{", b"[")


JSON_VOCABULARIES = [each for each in seeds.vocabularies() if is_json(each)]
FILES: dict[str, st.SearchStrategy[bytes]] = {
    "checkpoint": checkpoints(seeds.checkpoints()),
    "graph": onnx_files(seeds.graphs()),
    "runs": archives(seeds.runs()),
    "vocabulary": json_files(JSON_VOCABULARIES) | word_lists(seeds.WORDS),
    "config": json_files(seeds.configs()),
    "questions": json_files(seeds.questions()),
    "text": word_lists(seeds.TEXT.splitlines()),
    "recipe": json_files(seeds.recipes()),
    "vectors": npy_files() | st.sampled_from(seeds.vectors()),
}
UPLOAD = {
    "model": seeds.checkpoints()[:1],
    "vocabulary": seeds.vocabularies()[:1],
    "options": seeds.recipes()[:1],
}
SWEEP = {**UPLOAD, "variations": [b'[{"minutes": 0}, {"minutes": 1}]']}
FORMS = forms(UPLOAD, ("/compress", "/inspect")) | forms(SWEEP, ("/sweeps",))


@dataclass(frozen=True)
class Readers:
    """The readers of files by name, and a folder for a file."""

    targets: dict[str, Target]
    folder: Path

    def read(self, name: str, content: bytes) -> bool:
        """Whether a file is accepted; raises what is a fault."""
        (self.folder / "file").write_bytes(content)
        try:
            with memory_for(MEMORY_BYTES):
                self.targets[name].read(self.folder / "file")
            return True
        except (*REFUSALS, MemoryError):
            return False

    def check(self, name: str, how: settings) -> set[bool]:
        """Reads examples; returns whether some were accepted, and some refused."""
        found = tried(lambda content: self.read(name, content), FILES[name], how)
        assert [each.name for each in self.folder.iterdir()] == ["file"]
        return found


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    folder = tmp_path_factory.mktemp("readers")
    targets = {each.name: each for each in file_targets(folder / "good")}
    before, tempfile.tempdir = tempfile.tempdir, str(folder / "here")
    (folder / "here").mkdir()
    yield Readers(targets, folder / "here")
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def requests(published: Published) -> Iterator[Requests]:
    """A service with a language model."""
    with requests_to(published.settings.home, "tiny") as made:
        yield made


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Requests, Path]]:
    """A service of its own, whose jobs nobody does, and its home."""
    home = tmp_path_factory.mktemp("uploads")
    with requests_to(home) as made:
        yield made, home


def tried(
    run: Callable[[bytes], bool], files: st.SearchStrategy[bytes], how: settings
) -> set[bool]:
    """What came of examples: whether some were accepted, and some refused."""
    found = set()

    @how
    @given(content=files)
    def each(content: bytes) -> None:
        found.add(run(content))

    each()
    return found


def test_every_reader_has_structures_to_read(readers: Readers) -> None:
    assert FILES.keys() == readers.targets.keys()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_changed_files_are_refused_by_name(name: str, readers: Readers) -> None:
    assert readers.check(name, FEW) == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_many_changed_files_are_refused_by_name(name: str, readers: Readers) -> None:
    assert readers.check(name, MANY) == {True, False}


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_other_files_are_refused_by_name(name: str, readers: Readers) -> None:
    readers.check(name, OTHERS)


def check_bodies(requests: Requests, how: settings) -> None:
    """Bodies of a service with a language model."""
    good = [each for each in requests.good if b'"tiny"' in each.content]
    assert len(good) >= 4

    @how
    @given(data=st.data())
    def each(data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(good))
        requests.answer(replace(asked, content=data.draw(json_files([asked.content]))))

    each()


def check_forms(requests: Requests, home: Path, how: settings) -> None:
    """Uploads to a service, which keeps in its home what the jobs that it takes need alone."""

    @how
    @given(asked=FORMS)
    def each(asked: Asked) -> None:
        requests.answer(asked)

    each()
    assert uploads_left(home) == set()
    assert list((home / "arriving").iterdir()) == []


def test_changed_bodies_are_refused_by_name(requests: Requests) -> None:
    check_bodies(requests, FEW)


# A form that ends within a file leaves that to the collector of garbage, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_changed_forms_are_refused_by_name(uploads: tuple[Requests, Path]) -> None:
    check_forms(*uploads, FEW)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_many_changed_requests_are_refused_by_name(
    requests: Requests, uploads: tuple[Requests, Path]
) -> None:
    check_bodies(requests, MANY)
    check_forms(*uploads, MANY)


@pytest.mark.parametrize("name", FILES)
def test_a_reader_that_fails_is_found(name: str, readers: Readers) -> None:
    """Of each structure some example is not the good one, and what a reader raises is seen."""

    def read(path: Path) -> None:
        raise KeyError("seen")

    broken = replace(readers, targets={name: Target(name, (), read)})
    with pytest.raises(KeyError, match="seen"):
        broken.check(name, settings(FEW, phases=(Phase.generate,)))
