"""What a bundle's task makes of it: its codec, its kind of session, and how sessions of that kind are timed.

`load` is the one place where a manifest's task chooses code.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.errors import UnknownTask
from isslim.runtime.graphs.recorded_inputs import SAMPLES, GraphSession, NamedArrays, read_runs
from isslim.runtime.graphs.shapes import Shape, run_of_shape, usual_size
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.latency import compare, compare_graphs, compare_questions
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.runtime.run_control import stopped_after
from isslim.store.bundles import OpenBundle
from isslim.types.manifest import LatencyRecord, Manifest

WARM_SECONDS = 300.0
"""The longest that the first run of a graph in its own process may take."""


class LoadedLanguageModel(LoadedModel[LanguageSession]):
    """A language model: scores texts through `isslim/runtime/language/scoring.py`.

    Attributes:
        codec: texts to token ids.
    """

    task = "language-model"

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self.codec = TextCodec.from_folder(bundle.folder, bundle.manifest.contract)

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> LanguageSession:
        """A scoring graph."""
        return LanguageSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, LanguageSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """On random tokens."""
        steps, batch = usual_size(shape)
        return compare(sessions, steps=steps, batch=batch)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Every run makes the log-probabilities of all tokens, (T, B, V) in float32, wherever they are asked for."""
        steps, batch = usual_size(shape)
        return 4 * steps * batch * manifest.contract.vocabulary

    def _warm(self, session: LanguageSession) -> None:
        ids = np.zeros((2, 1), np.int64)
        session.run(ids, ids, np.full(1, 2, np.int32), session.zero_state(1))


class LoadedQuestionModel(LoadedModel[QuestionSession]):
    """A question-answering model: answers through `isslim/runtime/questions/answering.py`.

    Attributes:
        codec: words to vectors and characters.
    """

    task = "question-answering"

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self.codec = PassageCodec.from_folder(bundle.folder)

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> QuestionSession:
        """A question graph."""
        return QuestionSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, QuestionSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """On contexts of random words."""
        steps, batch = usual_size(shape)
        return compare_questions(sessions, steps=steps, batch=batch)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Every token has what each layer says of it, the concatenations that read it, and four gates: float32."""
        return _bytes_of_units(manifest, *usual_size(shape))

    @property
    def memory_bytes(self) -> int:
        """Open graphs and the word vectors."""
        return super().memory_bytes + self.codec.vectors.nbytes

    def _warm(self, session: QuestionSession) -> None:
        answer(session, encode_question(self.codec, tokenize_question("who is it?", "it is warm")))


class LoadedGraph(LoadedModel[GraphSession]):
    """A graph of any inputs and outputs: run as it stands.

    Callers' inputs are run in a process beside this one (`isolated`); in this one, only those of
    the bundle.
    """

    task = "graph"

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self._isolated: dict[tuple[str, str, int], SubprocessGraphSession] = {}
        self._starting = threading.Lock()

    def isolated(
        self, variant: str, device: str, threads: int, memory_bytes: int
    ) -> SubprocessGraphSession:
        """The warmed process of a variant.

        Raises:
            UnknownVariant: when there is none of that name.
            DeviceUnavailable: when the device is not there.
        """
        record, key = self.record(variant), (variant, device, threads)
        known = self._isolated.get(key)
        if known is not None:  # without the lock, which is held while another variant is started
            return known
        with self._starting:
            graph = self._isolated.get(key)
            if graph is None:
                path = self._bundle.path(record.file)
                graph = SubprocessGraphSession(
                    path, threads=threads, device=device, memory_bytes=memory_bytes
                )
                with stopped_after(WARM_SECONDS) as control:
                    graph.bound(control).run(graph.checked(self._sample()), list(graph.outputs))
                self._isolated[key] = graph
        return graph

    def is_isolated(self, variant: str, device: str, threads: int) -> bool:
        """Whether `isolated` answers at once."""
        return (variant, device, threads) in self._isolated

    @property
    def memory_bytes(self) -> int:
        """Graphs that are open here and beside."""
        beside = sum(self.record(variant).size_bytes for variant, _, _ in list(self._isolated))
        return super().memory_bytes + beside

    def close(self) -> None:
        """Ends the processes."""
        with self._starting:
            for graph in self._isolated.values():
                graph.close()
            self._isolated.clear()

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> GraphSession:
        """Any graph."""
        return GraphSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, GraphSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """On one of the bundle's samples, brought to the shape that is asked for."""
        first = sessions["original"]
        runs = [first.checked(run) for run in read_runs(first.path.with_name(SAMPLES).read_bytes())]
        run, description = run_of_shape(
            first, runs, shape, random=manifest.provenance.random_inputs
        )
        return compare_graphs(sessions, run, description)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """What its units take where steps or sequences are asked for; the samples were run before they were published."""
        if shape.steps is None and shape.batch is None:
            return 0
        spoken = manifest.variants[0].primary_latency
        return _bytes_of_units(manifest, shape.steps or spoken.steps, shape.batch or spoken.batch)

    def _warm(self, session: GraphSession) -> None:
        session.run(session.checked(self._sample()))

    def _sample(self) -> NamedArrays:
        return read_runs(self._bundle.path(SAMPLES).read_bytes())[0]


_FLOATS_OF_A_UNIT = 8
"""Of a recurrent unit in a graph: itself, its gates, and up to three products that a later layer
reads."""


def _bytes_of_units(manifest: Manifest, steps: int, batch: int) -> int:
    return (
        4
        * steps
        * batch
        * _FLOATS_OF_A_UNIT
        * max(sum(variant.units) for variant in manifest.variants)
    )


KINDS: Mapping[str, type[LoadedModel[Any]]] = {
    kind.task: kind for kind in (LoadedLanguageModel, LoadedQuestionModel, LoadedGraph)
}


def kind_of(manifest: Manifest) -> type[LoadedModel[Any]]:
    """The class that opens a bundle.

    Raises:
        UnknownTask: when nothing here serves its task.
    """
    if manifest.task not in KINDS:
        raise UnknownTask(manifest.task, sorted(KINDS))
    return KINDS[manifest.task]


def load(bundle: OpenBundle) -> LoadedModel[Any]:
    """A verified bundle in memory, ready for what its task is.

    Raises:
        UnknownTask: when nothing here serves its task.
    """
    return kind_of(bundle.manifest)(bundle)
