"""A question-answering model's bundle, loaded into memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.latency import compare_questions
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.runtime.run_memory import bytes_of_units
from isslim.runtime.shape import Shape, usual_size
from isslim.store.folders import OpenBundle
from isslim.types.kinds.questions import QUESTIONS
from isslim.types.manifest import LatencyRecord, Manifest


class LoadedQuestionModel(LoadedModel[QuestionSession]):
    """A question-answering model: answers through `isslim/runtime/questions/answering.py`.

    Attributes:
        codec: words to vectors and characters.
    """

    task = QUESTIONS.name

    def __init__(self, bundle: OpenBundle) -> None:
        super().__init__(bundle)
        self.codec = PassageCodec.from_folder(bundle.folder)

    @classmethod
    def open_session(cls, path: Path, *, threads: int, device: str) -> QuestionSession:
        """A question graph.

        Args:
            path: its file.
            threads: how many one run may use.
            device: one of `isslim.runtime.opening.devices()`.
        """
        return QuestionSession(path, threads=threads, device=device)

    @classmethod
    def compare(
        cls, manifest: Manifest, sessions: Mapping[str, QuestionSession], shape: Shape
    ) -> dict[str, LatencyRecord]:
        """Times sessions on contexts of random words.

        Args:
            manifest: of their bundle.
            sessions: by the names of their variants; `original` among them.
            shape: of the run that is timed.
        """
        steps, batch = usual_size(shape)
        return compare_questions(sessions, steps=steps, batch=batch)

    @classmethod
    def run_bytes(cls, manifest: Manifest, shape: Shape) -> int:
        """Memory of a run: per token all layers' outputs, their concatenations, and four gates.

        Args:
            manifest: of the bundle.
            shape: of the run.
        """
        return bytes_of_units(manifest, *usual_size(shape))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the open graphs and the word vectors."""
        return super().memory_bytes + self.codec.vectors.nbytes

    def _warm(self, session: QuestionSession) -> None:
        answer(session, encode_question(self.codec, tokenize_question("who is it?", "it is warm")))
