"""Reads an uploaded language model, its vocabulary and its texts."""

from __future__ import annotations

from isslim.compress.export.write_graph import check_size
from isslim.compress.kinds.language.ingest.layouts import recognise
from isslim.compress.kinds.language.ingest.vocabulary import read_tokenizer
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import briefly, read_texts
from isslim.compress.kinds.upload import KindReader, Upload
from isslim.compress.training.saved_network import spec_of
from isslim.runtime.language.text import TextCodec
from isslim.types.kinds.language import LANGUAGE

NO_TEXT = "no text was sent, so that nothing shows whether the model is read as it was trained"


class LanguageReader(KindReader):
    """Reads checkpoints of language models."""

    not_used = frozenset({"vectors", "characters"})

    def recognises(self, upload: Upload) -> bool:
        """True: this reader takes what no other recognises, and `read` reports what is missing."""
        return True

    def read(self, upload: Upload) -> LanguageTask:
        """Reads the model, its vocabulary and its texts.

        Raises:
            CompressError: when the checkpoint, the vocabulary or a text cannot be read.
        """
        files, found, recipe = upload.files, upload.found, upload.recipe_of(LANGUAGE)
        ingested = recognise(upload.checkpoint)
        upload.checkpoint.config.check_network(spec_of(ingested.network))
        found.network(LANGUAGE.name, ingested.network, ingested.reading)
        check_size(ingested.network)
        vocabulary = read_tokenizer(files.vocabulary, ingested, recipe)
        seen = (
            files.train or files.calibration or files.held_out or files.check or files.check_graph
        )
        reading = ingested.reading.adding(
            vocabulary.dropped, (*vocabulary.assumed, *(() if seen else (NO_TEXT,)))
        )
        found.add(
            text=vocabulary.contract,
            round_trip=vocabulary.round_trip,
            dropped=list(reading.dropped),
            assumed=list(reading.assumed),
        )
        codec = TextCodec(vocabulary.tokenizer, vocabulary.contract)
        texts = read_texts(
            ingested.network,
            codec,
            files.data,
            recipe,
            write=briefly if upload.looking else None,
        )
        found.add(texts=list(texts.read))
        return LanguageTask(ingested.network, texts, recipe, codec, reading, ingested.form)
