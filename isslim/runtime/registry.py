"""Which class opens a bundle: each kind's is registered, and looked up by the manifest's task."""

from __future__ import annotations

from typing import Any

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.errors import UnknownTask
from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.store.folders import OpenBundle
from isslim.types.manifest import Manifest

_CLASSES: dict[str, type[LoadedModel[Any]]] = {}


def register(loaded: type[LoadedModel[Any]]) -> None:
    """Makes a kind's class known in this process; the same one again changes nothing.

    Raises:
        ValueError: when another class is registered for its kind.
    """
    if _CLASSES.setdefault(loaded.task, loaded) is not loaded:
        raise ValueError(f"there is another class for bundles of the kind '{loaded.task}'")


for _loaded in (LoadedLanguageModel, LoadedQuestionModel, LoadedGraph):
    register(_loaded)


def class_of(manifest: Manifest) -> type[LoadedModel[Any]]:
    """The class that opens a bundle.

    Raises:
        UnknownTask: when nothing here serves its kind.
    """
    if manifest.task not in _CLASSES:
        raise UnknownTask(manifest.task, sorted(_CLASSES))
    return _CLASSES[manifest.task]


def why_unserved(manifest: Manifest) -> str:
    """What is missing here to serve a bundle; empty: nothing is."""
    try:
        class_of(manifest)
    except UnknownTask as error:
        return str(error)
    return ""


def load(bundle: OpenBundle) -> LoadedModel[Any]:
    """A verified bundle in memory, ready for what its kind does.

    Raises:
        UnknownTask: when nothing here serves its kind.
    """
    return class_of(bundle.manifest)(bundle)
