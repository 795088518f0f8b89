"""Reads an uploaded question answering model, its words and its questions."""

from __future__ import annotations

from isslim.compress.kinds.questions.data import read_questions
from isslim.compress.kinds.questions.ingest import is_bidaf, read_codec, recognise_bidaf
from isslim.compress.kinds.questions.task import QuestionTask
from isslim.compress.kinds.upload import KindReader, Upload
from isslim.compress.training.saved_network import spec_of
from isslim.types.kinds.questions import QUESTIONS


class QuestionReader(KindReader):
    """Reads checkpoints of BiDAF models."""

    def recognises(self, upload: Upload) -> bool:
        """Whether the checkpoint has the parts of a BiDAF model."""
        return is_bidaf(upload.checkpoint)

    def read(self, upload: Upload) -> QuestionTask:
        """Reads the model, its words and its questions.

        Raises:
            CompressError: when the checkpoint, the words or the questions cannot be read.
        """
        files, recipe = upload.files, upload.recipe_of(QUESTIONS)
        ingested = recognise_bidaf(upload.checkpoint)
        upload.checkpoint.config.check_network(spec_of(ingested.network))
        upload.found.network(QUESTIONS.name, ingested.network, ingested.reading)
        original = ingested.network
        codec = read_codec(files.vocabulary, files.vectors, files.characters, original.spec)
        data = read_questions(original, codec, files.data, recipe, answering=not upload.looking)
        return QuestionTask(original, data, recipe, codec, ingested.reading)
