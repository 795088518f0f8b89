"""Texts of a request or its answer, scored again by two models to compare these."""

from __future__ import annotations

from functools import partial

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.service.problems import RequestError
from isslim.service.serving.batching import Job
from isslim.service.serving.repeatable import Outcome, Repeatable
from isslim.service.serving.runners import score_sequences
from isslim.service.uploads import refuse_long
from isslim.settings.service import ServiceSettings

Given = list[str] | list[list[int]]
"""Texts, or sequences of token ids."""


def repeatable_texts(given: Given, device: str, settings: ServiceSettings) -> Repeatable | None:
    """How texts are scored again; None: there are none.

    Args:
        given: the texts.
        device: where.
        settings: the limits of texts.
    """
    if not given:
        return None
    return Repeatable(LoadedLanguageModel, device, partial(_outcome, given, settings))


def sequences_of(given: Given, codec: TextCodec, settings: ServiceSettings) -> list[list[int]]:
    """Token ids of texts.

    Args:
        given: the texts.
        codec: of the model.
        settings: the limits.

    Raises:
        RequestError: (invalid-request) when there is none of a text; (too-large) when there are
            too many.
    """
    refuse_long([each for each in given if isinstance(each, str)], settings)
    sequences = [codec.encode(each) if isinstance(each, str) else each for each in given]
    empty = [index for index, ids in enumerate(sequences) if not ids]
    if empty:
        raise RequestError("invalid-request", f"token_ids: sequence {empty[0]} is empty")
    total = sum(map(len, sequences))
    if total > settings.tokens_limit:
        raise RequestError(
            "too-large", f"{total:,} tokens; at most {settings.tokens_limit:,} in one request"
        )
    return sequences


def _outcome(
    given: Given,
    settings: ServiceSettings,
    model: LoadedLanguageModel,
    session: LanguageSession,
) -> Job[Outcome]:
    """Scores texts for a comparison of models: each reads them in its own way."""
    codec = model.codec
    sequences = sequences_of(given, codec, settings)
    scores, seconds = yield from score_sequences(session, sequences, codec.start_id, top_k=1)
    counted = sum(each.counted for each in scores)
    return Outcome(
        log_prob=sum(each.total for each in scores) / counted if counted else None,
        decisions=tuple(codec.token(top[0][0]) for each in scores for top in each.top if top),
        run_ms=1e3 * seconds,
    )
