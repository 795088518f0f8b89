"""The texts of a job as tokens: calibration, training and held-out text, and the origin of each.

Text that the user did not send is sampled from the model itself. For calibration, which is one
forward pass, that is as good as real text; as held-out text it measures agreement with the original
rather than quality, and the provenance states it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isslim.compress.errors import TextUnusable
from isslim.compress.kinds.language.encoding import encode_file
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import log_probs
from isslim.compress.kinds.upload import DataFiles
from isslim.compress.statistics.overlap import ENOUGH, remove_overlap
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.compress.statistics.pieces import MAX_PIECES, WARM, spread_pieces
from isslim.runtime.errors import TextRefused
from isslim.runtime.language.text import TextCodec
from isslim.types.inspection import TextRecord
from isslim.types.recipe import Recipe

_NAMES = {"calibration": "calibration", "train": "training", "held_out": "held-out"}
STREAMS = 50
"""Streams that are sampled side by side."""
MAX_EVALUATED, BRIEF = 2000, 500
"""Tokens on which a model is compared with guessing, and that are sampled for an inspection."""
GUESSING = 1.1
"""Multiple of the perplexity of guessing above which a model is refused. An untrained model is a
few per cent worse than guessing."""
BARELY_BETTER = 0.9
"""Multiple of the perplexity of guessing above which a model has learned almost nothing, or is not
read as it was trained."""
NEVER_COMPARED = "never compared with real text: none was sent"


@dataclass(frozen=True)
class Texts:
    """The texts of a job as token ids, int64 (N,), and the origin of each.

    Attributes:
        calibration: the text that activations are collected on; of a long one pieces spread over it
            (`isslim/compress/statistics/pieces.py`).
        training: the text that training takes place on.
        held_out: the text of the published figures; the search evaluates candidates on pieces
            spread over it.
        calibration_origin: where the calibration text comes from, in words.
        held_out_origin: where the held-out text comes from, in words.
        training_given: whether the user sent `training`.
        caveat: a reservation to add to a verdict on these texts; empty where there is none.
        read: a record on every uploaded text.
    """

    calibration: Tensor
    training: Tensor
    held_out: Tensor
    calibration_origin: str
    held_out_origin: str
    training_given: bool = True
    caveat: str = ""
    read: tuple[TextRecord, ...] = ()


Writer = Callable[[LanguageModel, int | None, int, int], Tensor]
"""Generates a text that was not sent; see `sample`."""


def read_texts(
    network: LanguageModel,
    codec: TextCodec,
    files: DataFiles,
    recipe: Recipe,
    *,
    write: Writer | None = None,
) -> Texts:
    """Encodes the uploaded texts, and lets the model generate those that are missing.

    A training text stands in for a calibration text that was not sent, and the other way round.
    Where no held-out text was sent, the last fifth of the training text is held out.

    Args:
        network: the model.
        codec: between texts and its tokens.
        files: the uploaded texts.
        recipe: how much of them is used, and the seed.
        write: generates missing texts; None: `sample`.

    Raises:
        TextUnusable: when a text is not UTF-8 or holds too few tokens of the vocabulary, or the
            model is worse on it than guessing.
    """
    calibration, held_out, train = files.calibration, files.held_out, files.train
    write, read = write or sample, list[TextRecord]()
    observed = None if calibration is None else _encode(codec, calibration, "calibration", read)
    training = observed if train is None else _encode(codec, train, "train", read)
    held_out_tokens = None if held_out is None else _encode(codec, held_out, "held_out", read)
    held_out_origin = calibration_origin = "uploaded text"
    same = held_out_tokens is not None and any(
        text is not None and torch.equal(text, held_out_tokens) for text in (observed, training)
    )
    divided = training is not None and (held_out_tokens is None or same)
    if training is not None and divided:
        cut = len(training) * 4 // 5
        training, held_out_tokens = training[:cut], training[cut:]
        held_out_origin = "the last fifth of the uploaded text, not calibrated or trained on"
        held_out_origin += " (what was sent as held-out text is the same text)" if same else ""
        observed = training if train is None else observed
    observed = training if observed is None else observed
    caveat = ""
    if held_out_tokens is not None and observed is not None and training is not None:
        fitted = [observed] if training is observed else [observed, training]
        fitted, held_out_tokens, left_out, left_evaluated = remove_overlap(fitted, held_out_tokens)
        observed, training = fitted[0], fitted[-1]
        calibration_origin, held_out_origin = (
            calibration_origin + left_out,
            held_out_origin + left_evaluated,
        )
        if "repeats" in left_evaluated:
            caveat = (
                "the held-out text repeats the calibration or training text, so that its figures "
                "do not hold for other text"
            )
    if observed is None:
        observed = write(network, codec.start_id, recipe.calibration_tokens, recipe.seed)
        calibration_origin = "text generated by the model itself"
    if held_out_tokens is None:
        held_out_tokens = write(network, codec.start_id, recipe.held_out_tokens, recipe.seed + 1)
        held_out_origin = (
            "text generated by the model itself: perplexity here measures agreement with the "
            "original, "
            "not quality on real text; upload a held-out text for that"
        )
    given = training is not None
    training = observed if training is None else training
    held_out_tokens = held_out_tokens[: recipe.published_tokens]
    for name, tokens in (
        ("calibration", observed), ("held-out", held_out_tokens), ("training", training),
    ):  # fmt: skip
        if len(tokens) < ENOUGH:
            raise TextUnusable(_too_short(name, len(tokens), divided=divided, same=same))
    real = given or held_out is not None
    caveat = (
        _guessing(network, held_out_tokens, real=real) or caveat or ("" if real else NEVER_COMPARED)
    )
    return Texts(
        observed,
        training,
        held_out_tokens,
        f"{calibration_origin} "
        f"({_tokens_used(observed, recipe.calibration_tokens)}{_unknown(codec, observed)})",
        f"{held_out_origin} ({len(held_out_tokens):,} tokens{_unknown(codec, held_out_tokens)}; "
        "candidates were compared on "
        f"{_tokens_used(held_out_tokens, recipe.held_out_tokens)})",
        training_given=given,
        caveat=caveat,
        read=tuple(read),
    )


def _too_short(name: str, count: int, *, divided: bool, same: bool) -> str:
    """The message on a text with too few tokens."""
    description = f"the {name} text has {count} tokens; at least {ENOUGH} are needed"
    if not divided:
        return description
    why = "What was sent as held-out text is the same text" if same else "No held-out text was sent"
    return (
        f"{description}. {why}, so the last fifth of the text is held out, and the rest is used "
        "for calibration: send a separate held-out text, or "
        f"at least {5 * ENOUGH} tokens of text"
    )


def _unknown(codec: TextCodec, tokens: Tensor) -> str:
    """The share of unknown tokens in words; empty where the vocabulary has no unknown token."""
    if codec.unknown_id is None:
        return ""
    return (
        f", {100 * float((tokens == codec.unknown_id).sum()) / len(tokens):.1f} % of them unknown"
    )


def _tokens_used(tokens: Tensor, count: int) -> str:
    """How much of a text is used, in words."""
    pieces = spread_pieces(tokens, count)
    if pieces.count + MAX_PIECES + WARM >= len(tokens):
        return f"{len(tokens):,} tokens"
    return (
        f"{pieces.count:,} of {len(tokens):,} tokens, in {pieces.rows.shape[1]} pieces spread over "
        "the whole text"
    )


@torch.no_grad()
def sample(network: LanguageModel, start: int | None, count: int, seed: int) -> Tensor:
    """Samples text from the model, in `STREAMS` streams that are concatenated.

    Args:
        network: the model.
        start: id of the token that every stream starts from; None: uniformly random ones.
        count: tokens, rounded up to a multiple of `STREAMS`.
        seed: of the random generator.

    Returns:
        int64 (N,).
    """
    generator = torch.Generator().manual_seed(seed)
    state = network.zero_state(STREAMS)
    if start is None:
        token = torch.randint(network.vocabulary, (1, STREAMS), generator=generator)
    else:
        token = torch.full((1, STREAMS), start)
    written = []
    for _ in range(-(-count // STREAMS)):
        logits, state = network(token, state)
        token = torch.multinomial(logits[0].softmax(dim=-1), 1, generator=generator).t()  # (1, B)
        written.append(token)
    return torch.cat(written).t().flatten()


def briefly(network: LanguageModel, start: int | None, count: int, seed: int) -> Tensor:
    """A quick stand-in for `sample` in an inspection: the first `BRIEF` tokens, repeated.

    Args:
        network: the model.
        start: see `sample`.
        count: tokens, rounded up as by `sample`.
        seed: of the random generator.
    """
    written = sample(network, start, BRIEF, seed)
    return written.repeat(-(-count // len(written)))[: -(-count // STREAMS) * STREAMS]


def _guessing(network: LanguageModel, held_out: Tensor, *, real: bool) -> str:
    """The reservation on a model that is barely better than guessing; empty for any other.

    Args:
        network: the uploaded model.
        held_out: int64 (N,), the held-out tokens.
        real: whether they are from a text that was sent, and not sampled from the model.

    Raises:
        TextUnusable: when the model is worse than guessing on its own kind of text. Then it was
            read in a wrong way, which no verification of the compression could show.
    """
    found = perplexity_of(-float(log_probs(network, spread_pieces(held_out, MAX_EVALUATED)).mean()))
    if real and not found <= GUESSING * network.vocabulary:
        raise TextUnusable(
            f"the model's perplexity on the uploaded text is {found:,.0f}, worse than guessing "
            "among its "
            f"{network.vocabulary:,} tokens: it is not read as it was trained",
            [
                "is the vocabulary the one it was trained with, in the order of the ids?",
                "do its recurrent layers run in another order? (`layers` in the config sets it)",
                "are its gates in torch's order (LSTM: i f g o; GRU: r z n)?",
                "is the text of the kind and the language that it was trained on?",
            ],
        )
    if found < BARELY_BETTER * network.vocabulary:
        return ""
    return (
        f"the original is barely better than guessing (perplexity {found:,.1f} among "
        f"{network.vocabulary:,} tokens"
        f"{'' if real else ', on its own text'}): it is untrained, or not read as it was trained"
    )


def _encode(codec: TextCodec, path: Path, field: str, read: list[TextRecord]) -> Tensor:
    """The tokens of an uploaded text, int64 (N,); a record on it is appended to `read`."""
    name = _NAMES[field]
    try:
        ids = encode_file(codec, path)
    except UnicodeDecodeError as error:
        with path.open("rb") as file:
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        description = "it is UTF-16, as some editors of Windows save" if wide else str(error)
        raise TextUnusable(
            f"the {name} text is not UTF-8: {description}. Send plain text, saved as UTF-8"
        ) from error
    except TextRefused as error:
        raise TextUnusable(
            f"the {name} text cannot be read with this vocabulary: {error}"
        ) from error
    unknown = 0 if codec.unknown_id is None else int((ids == codec.unknown_id).sum())
    read.append(TextRecord(field=field, tokens=len(ids), unknown=unknown))
    if unknown > 0.9 * len(ids):
        raise TextUnusable(
            f"over 90 % of the {name} text's {len(ids):,} tokens are not in the vocabulary; is it "
            "the right vocabulary?"
        )
    return ids
