"""The card's section of samples: questions, correct answers in context, variants' answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

from isslim.card.markdown import escaped
from isslim.types.report import Report, Sample

AROUND = 90
"""Characters quoted on either side of the beginning and the end of an answer."""
MAX_WORD = 20
"""The most characters by which a quotation is widened to whole words."""
MAX_CHARACTERS, SHOWN_GOLDEN = 240, 3
"""Characters of a question or an answer in the card; golden answers to one question."""


def samples_section(report: Report) -> list[str]:
    """Every sample with all answers to it; empty where there are none."""
    if not report.samples:
        return []
    original, other = ([each.answers[side] for each in report.samples] for side in (0, -1))
    same = sum(one.text == two.text for one, two in zip(original, other, strict=True))
    description = (
        f"{len(report.samples)} of the held-out questions, spread over all of them; behind each "
        "answer its probability. "
        f"`{original[0].variant}` and `{other[0].variant}` give the same answer to {same} of them."
    )
    if any(each.golden_span for each in report.samples):
        description += " The golden answer is bold in its context."
    return [
        "## Sample questions",
        description,
        *(_sample(number, each) for number, each in enumerate(report.samples, 1)),
    ]


def excerpt(
    context: str, spans: Sequence[tuple[int, int]], bold: tuple[int, int] | None = None
) -> str:
    """The parts of a context in which spans begin and end, as Markdown, with ellipses between them.

    Args:
        context: any text.
        spans: start and end of each; one without length, or none, is fine.
        bold: what to print bold where it is quoted.
    """
    pieces: list[tuple[int, int]] = []
    for edge in sorted(chain(*spans)):
        begin, end = _whole_words(context, edge - AROUND, edge + AROUND)
        if pieces and begin <= pieces[-1][1]:
            pieces[-1] = pieces[-1][0], max(end, pieces[-1][1])
        else:
            pieces.append((begin, end))
    quoted = [_quoted(context, begin, end, bold) for begin, end in pieces]
    before = "… " if pieces and context[: pieces[0][0]].strip() else ""
    behind = " …" if pieces and context[pieces[-1][1] :].strip() else ""
    return before + " … ".join(quoted) + behind


def _sample(number: int, sample: Sample) -> str:
    spans = [(each.start, each.end) for each in sample.answers] + (
        [sample.golden_span] if sample.golden_span else []
    )
    golden = " / ".join(map(_short, sample.golden[:SHOWN_GOLDEN]))
    lines = [
        *([f"- golden: {golden}"] if golden else []),
        *(f"- `{each.variant}`: {_short(each.text)} ({each.score:.2f})" for each in sample.answers),
    ]
    quoted = excerpt(sample.context, spans, sample.golden_span)
    return f"**{number}. {_short(sample.asked)}**\n\n> {quoted}\n\n" + "\n".join(lines)


def _whole_words(context: str, begin: int, end: int) -> tuple[int, int]:
    begin, end = max(begin, 0), min(end, len(context))
    least, most = max(begin - MAX_WORD, 0), min(end + MAX_WORD, len(context))
    while begin > least and not context[begin - 1].isspace():
        begin -= 1
    while end < most and not context[end].isspace():
        end += 1
    return begin, end


def _quoted(context: str, begin: int, end: int, bold: tuple[int, int] | None) -> str:
    """A piece of the context, the bold part of it in asterisks with no white space inside them."""
    if bold is None:
        return escaped(context[begin:end])
    first, last = (min(max(place, begin), end) for place in bold)
    parts = [context[begin:first], context[first:last], context[last:end]]
    shown = [escaped(part) for part in parts]
    if not shown[1]:
        return escaped(context[begin:end])
    # `escaped` strips: the white space between the parts is put back.
    gaps = [
        " " if left[-1:].isspace() or right[:1].isspace() else "" for left, right in pairwise(parts)
    ]
    return f"{shown[0]}{gaps[0]}**{shown[1]}**{gaps[1]}{shown[2]}".strip()


def _short(text: str) -> str:
    """A text of at most `MAX_CHARACTERS` characters, its middle left out where it is longer."""
    half = MAX_CHARACTERS // 2
    return (
        escaped(text)
        if len(text) <= MAX_CHARACTERS
        else f"{escaped(text[:half])} … {escaped(text[-half:])}"
    )
