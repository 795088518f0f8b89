"""The uncertainty of a loss of quality: 95 % intervals from the sample on which it was measured.

A share of decisions has Wilson's interval. Everything else is a function of sums over the sample (a
mean, a ratio of sums, the root of one), so its interval comes from a bootstrap: blocks of the
sample are drawn with replacement and the function is applied to the drawn blocks' sums. Neighbours
in a text or a recorded run resemble each other, which is why whole blocks are drawn and not single
tokens, rows or questions. Original and candidate are always compared on the same blocks: what makes
a text hard is hard for both, and most of it cancels.

Blocks of one recorded run may resemble each other too, such as those of one speaker. Where the
sample holds several runs that were cut into blocks, the interval is widened by the design effect of
the runs: the variance of the figure when runs are left out one by one, over that when blocks are
(both by the jackknife: J. Tukey, 1958; design effect: L. Kish, Survey Sampling, 1965).

Percentiles of a bootstrap are too close together for few blocks; they are taken further out, as a
t-distribution's are of a normal one's (the expanded percentile interval of Hesterberg, "What
Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). All draws come from
a fixed seed: the same figures give the same interval.

Legend: N members of a sample, B blocks, K sums, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isslim.types.manifest import Estimate

Floats = NDArray[np.float64]
Unit = Literal["tokens", "questions", "decisions", "rows", "sequences"]

RESAMPLES = 2000
MIN_BLOCKS = 8
"""With fewer, the variance between blocks cannot be estimated."""
ENOUGH_BLOCKS, MAX_BLOCKS = 20, 1000
BLOCK_LENGTH = 50
"""Tokens or rows of a block, where the sample is long enough for `ENOUGH_BLOCKS` of them."""
FEW_CHANGED = 10
"""Where fewer questions than this are answered differently, a bootstrap of them is too sure."""
_Z = NormalDist().inv_cdf(0.975)
_SEED = 20150


def wilson(hits: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share (E. B. Wilson, JASA 22, 1927).

    Args:
        hits: how many of `count` independent decisions differ.
        count: 0 gives 0 to 1.

    Raises:
        ValueError: when `hits` is not between 0 and `count`.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count} decisions: expected between 0 and {count}")
    if count == 0:
        return 0.0, 1.0
    share, extra = hits / count, _Z**2 / count
    middle = (share + extra / 2) / (1 + extra)
    half = _Z / (1 + extra) * math.sqrt(share * (1 - share) / count + extra / (4 * count))
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == count else middle + half)


def decisions_for(share: float) -> int:
    """How many decisions without a difference show that at most a share of all differ.

    By the upper end of Wilson's interval.

    Args:
        share: above 0, at most 1.
    """
    # With no hit of n the upper end is z^2 / (n + z^2).
    return math.ceil(_Z**2 * (1 - share) / share)


def share_of(hits: Sequence[int] | NDArray[Any], counts: Sequence[int] | NDArray[Any]) -> Estimate:
    """Wilson's interval of a share of decisions that were made in runs, sequences or blocks.

    Decisions of one run resemble each other. Where runs differ more than chance explains, the
    interval is that of fewer decisions: their number divided by the design effect, the variance of
    the share over runs divided by that of as many independent decisions (L. Kish, Survey Sampling,
    1965). It needs two runs and both kinds of decisions; otherwise decisions count as independent.

    Args:
        hits: per run, how many decisions differ.
        counts: per run, how many were made.

    Raises:
        ValueError: when the lengths differ, or a run has more hits than decisions.
    """
    found, made = np.asarray(hits, np.float64), np.asarray(counts, np.float64)
    if found.shape != made.shape or found.ndim != 1:
        raise ValueError(
            f"hits of shape {found.shape} and counts of shape {made.shape}: expected one each "
            "for every run"
        )
    if (found > made).any() or (found < 0).any():
        raise ValueError("a run has more differing decisions than decisions, or fewer than none")
    found, made = found[made > 0], made[made > 0]
    total, runs = float(made.sum()), len(made)
    share = float(found.sum()) / total if runs else 0.0
    effect = 1.0
    if runs > 1 and 0 < share < 1:
        variance = runs / (runs - 1) * float(np.square(found - share * made).sum()) / total**2
        effect = min(max(1.0, variance * total / (share * (1 - share))), float(made.max()))
    low, high = wilson(share * total / effect, total / effect)
    return Estimate(low=low, high=high, count=int(total), unit="decisions", method="wilson")


class Blocks(NamedTuple):
    """A sample in blocks.

    Attributes:
        sums: (B, K) of every block.
        runs: (B,) which of the sample's runs each block is of.
    """

    sums: Floats
    runs: NDArray[np.int64]


def bootstrap(
    sums: NDArray[Any] | Blocks,
    statistic: Callable[[Floats], NDArray[Any]],
    *,
    count: int,
    unit: Unit,
) -> Estimate | None:
    """The interval of a function of sums over a sample, by drawing blocks of it.

    Args:
        sums: (B, K), of every block the sums that the function needs, such as squared differences
            and how many there are; or the blocks of runs that `blocks` makes, whose runs' design
            effect then widens the interval. Above `MAX_BLOCKS`, neighbours are joined.
        statistic: from sums over all drawn blocks, float64 (R, K), to the function's values (R,).
        count: size of the sample, for the record.
        unit: its unit.

    Returns:
        None where there are fewer than `MIN_BLOCKS` blocks, or where the function is not finite
        for some resample.

    Raises:
        ValueError: when `sums` is not two-dimensional.
    """
    runs = sums.runs if isinstance(sums, Blocks) else None
    of_blocks = np.asarray(sums.sums if isinstance(sums, Blocks) else sums, np.float64)
    if of_blocks.ndim != 2:
        raise ValueError(f"sums of shape {of_blocks.shape}: expected (blocks, sums)")
    if len(of_blocks) > MAX_BLOCKS:
        of_blocks, runs = _cut(of_blocks, MAX_BLOCKS), None
    number = len(of_blocks)
    if number < MIN_BLOCKS:
        return None
    effect = 1.0 if runs is None else _design_effect(of_blocks, runs, statistic)
    generator = np.random.default_rng(_SEED)
    # How often each block was drawn: a product of matrices instead of a gather of R x B rows.
    drawn = generator.multinomial(number, np.full(number, 1 / number), size=RESAMPLES).astype(
        np.float64
    )
    with np.errstate(all="ignore"):
        values = np.asarray(statistic(drawn @ of_blocks), np.float64)
    if values.shape != (RESAMPLES,):
        raise ValueError(f"the statistic gave shape {values.shape}: expected ({RESAMPLES},)")
    if not np.isfinite(values).all():
        return None
    # Blocks that resemble each other are worth fewer: as many as there are runs at least.
    worth = float(number)
    if runs is not None and effect > 1.0:
        worth = max(float(len(np.unique(runs))), number / effect, 2.0)
    tail = NormalDist().cdf(-math.sqrt(worth / (worth - 1)) * student(worth - 1))
    quantiles = np.quantile(values, [tail, 1 - tail])
    with np.errstate(all="ignore"):
        found = float(np.asarray(statistic(of_blocks.sum(axis=0, keepdims=True)))[0])
    low, high = found + (quantiles - found) * math.sqrt(effect)
    return Estimate(
        low=float(low), high=float(high), count=count, unit=unit, method="block bootstrap"
    )


def _design_effect(
    sums: Floats, runs: NDArray[np.int64], statistic: Callable[[Floats], NDArray[Any]]
) -> float:
    """How many times the variance over runs is that over blocks, by leaving out one at a time.

    At least 1, and at most the number of blocks of the longest run, which is what it is where all
    blocks of a run are alike. 1 where there is one run, or every block is a run.
    """
    _, member = np.unique(runs, return_inverse=True)
    number = int(member.max()) + 1
    if number < 2 or number == len(sums):
        return 1.0
    of_runs = np.zeros((number, sums.shape[1]))
    np.add.at(of_runs, member, sums)
    whole = sums.sum(axis=0)
    with np.errstate(all="ignore"):
        without_block = np.asarray(statistic(whole - sums), np.float64)
        without_run = np.asarray(statistic(whole - of_runs), np.float64)
        over_blocks = (len(sums) - 1) * float(np.var(without_block))
        over_runs = (number - 1) * float(np.var(without_run))
    if not (math.isfinite(over_blocks) and math.isfinite(over_runs) and over_blocks > 0):
        return 1.0
    return min(max(1.0, over_runs / over_blocks), float(np.bincount(member).max()))


def blocks(runs: Sequence[NDArray[Any]]) -> Blocks:
    """Sums over blocks of recorded runs, (B, K), and of which run each block is.

    A run is a block of its own, where there are `ENOUGH_BLOCKS` of them. Otherwise runs are cut
    into blocks of `BLOCK_LENGTH` rows, or shorter ones if that does not make enough blocks; a
    single row is never divided.

    Args:
        runs: of each run (rows, K): per row, such as a time step, what is summed.

    Raises:
        ValueError: when there is no run, or one is not two-dimensional.
    """
    if not runs or any(run.ndim != 2 for run in runs):
        raise ValueError("expected at least one run, each of shape (rows, sums)")
    numbers = blocks_of([len(run) for run in runs])
    cut = [_cut(run, number) for run, number in zip(runs, numbers, strict=True) if number]
    return Blocks(np.concatenate(cut), np.repeat(np.arange(len(cut)), [len(each) for each in cut]))


def blocks_of(lengths: Sequence[int]) -> list[int]:
    """How many blocks each of some recorded runs is cut into; see `blocks`.

    Args:
        lengths: rows of every run.
    """
    filled = [length for length in lengths if length]
    if len(filled) >= ENOUGH_BLOCKS or not filled:
        return [1] * len(lengths)
    length = block_length(sum(filled))
    return [max(1, round(each / length)) if each else 0 for each in lengths]


def block_length(count: int) -> int:
    """Members of a block of a sample of `count` in a row.

    At least `BLOCK_LENGTH`, more in a sample that would have over `MAX_BLOCKS`: topics last longer
    than sentences. A short sample is cut into `ENOUGH_BLOCKS`, however short they are.
    """
    return max(1, min(max(BLOCK_LENGTH, count // MAX_BLOCKS), count // ENOUGH_BLOCKS))


def rise_of_perplexity(original: NDArray[Any], candidate: NDArray[Any]) -> Estimate | None:
    """The interval of the relative rise of perplexity, candidate / original - 1.

    Args:
        original: (N,) natural log-probabilities of the tokens of one text, in its order; NaN for
            those that are not scored.
        candidate: those of the same tokens.

    Returns:
        None where there are too few tokens, or a probability is 0.

    Raises:
        ValueError: when the shapes differ.
    """
    if original.shape != candidate.shape or original.ndim != 1:
        raise ValueError(
            f"log-probabilities of shapes {original.shape} and {candidate.shape}: expected two "
            "of (tokens,)"
        )
    difference = original.astype(np.float64) - candidate.astype(np.float64)
    difference = difference[~(np.isnan(original) & np.isnan(candidate))]
    if not len(difference):
        return None
    sums = blocks([np.stack([difference, np.ones_like(difference)], axis=1)])
    return bootstrap(
        sums,
        lambda drawn: np.expm1(drawn[:, 0] / drawn[:, 1]),
        count=len(difference),
        unit="tokens",
    )


def fall_of_mean(
    original: NDArray[Any], candidate: NDArray[Any], groups: Sequence[Hashable], *, most: float
) -> Estimate | None:
    """The interval of how far a mean score over questions falls, original - candidate.

    Questions of one group, such as those about one paragraph, are drawn together.

    Where hardly an answer differs, the interval is widened (`widened`): with none of 1,000 answers
    changed, by 0.38 points of 100.

    Args:
        original: (N,) scores of the original's answers.
        candidate: those of the candidate's, to the same questions.
        groups: (N,) the group of every question.
        most: the largest score.

    Returns:
        None where there are fewer than `MIN_BLOCKS` groups.

    Raises:
        ValueError: when the lengths differ.
    """
    if not len(original) == len(candidate) == len(groups):
        raise ValueError(
            f"{len(original)} and {len(candidate)} scores of {len(groups)} questions: expected "
            "as many of each"
        )
    difference = np.asarray(original, np.float64) - np.asarray(candidate, np.float64)
    numbers: dict[Hashable, int] = {}
    member = np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)
    sums = np.zeros((len(numbers), 2))
    np.add.at(sums, member, np.stack([difference, np.ones_like(difference)], axis=1))
    found = bootstrap(
        sums, lambda drawn: drawn[:, 0] / drawn[:, 1], count=len(difference), unit="questions"
    )
    if found is None:
        return None
    changed = int(np.count_nonzero(difference))
    return widened(
        found, float(difference.mean()), changed, len(difference), lambda share: most * share
    )


def widened(
    estimate: Estimate,
    loss: float,
    changed: int,
    count: int,
    worth: Callable[[float], float],
) -> Estimate:
    """An interval that also allows for changed answers that a sample is too small to show.

    Where hardly an answer differs, the differences that were seen say little of those that were
    not. The interval is then wide enough for as many more changed answers as Wilson's interval
    allows, in either direction.

    Args:
        estimate: of a bootstrap.
        loss: as measured.
        changed: how many answers differ; from `FEW_CHANGED` on the interval stays as it is.
        count: of all answers.
        worth: the loss of a share of all answers, 0 to 1, that changes for the worse.
    """
    if changed >= FEW_CHANGED or not count:
        return estimate
    unseen = worth(wilson(changed, count)[1] - changed / count)
    return estimate.model_copy(
        update={
            "low": min(estimate.low, loss - unseen),
            "high": max(estimate.high, loss + unseen),
        }
    )


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t with so many degrees of freedom.

    By the expansion in 1 / freedom of Abramowitz and Stegun (26.7.5), to 0.1 % from 5 degrees on.
    """
    z, v = _Z, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def _cut(run: NDArray[Any], number: int) -> Floats:
    """Sums (number, K) of as many nearly equal blocks of rows."""
    if number == 1:
        return np.asarray(run.sum(axis=0, keepdims=True, dtype=np.float64))
    summed: Floats = np.add.reduceat(run.astype(np.float64), block_starts(len(run), number), axis=0)
    return summed


def block_starts(length: int, number: int) -> NDArray[np.int64]:
    """The first row of each of `number` nearly equal blocks of a run.

    Args:
        length: rows of the run.
        number: of blocks.
    """
    return np.linspace(0, length, number, endpoint=False).astype(np.int64)
