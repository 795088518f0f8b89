"""Untrusted texts in the card: escaped, and shortened around the answers."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from isslim.card.markdown import escaped
from isslim.card.samples_section import AROUND, MAX_CHARACTERS, MAX_WORD, excerpt, samples_section
from isslim.types.report import Report, Sample, SampleAnswer

HOSTILE = (
    "<img src=x onerror=alert(1)> [a](curve.svg) ![b](c) **d** `e` ~~f~~ | g & &amp; \\ "
    "http://h.i www.j.k l@m # n"
)
SIGNS = st.text(
    alphabet=st.sampled_from(" \n\t1.)(-+=*_`~[]<>!#|\\&$@:/aZé—\u200b\u202e"), max_size=40
)


def rendered(markdown: str) -> str:
    """The text that a CommonMark reader shows, tags taken out."""
    shown = MarkdownIt("commonmark").enable("table").render(markdown)
    return html.unescape(re.sub(r"<[^>]*>", "", shown)).strip()


def plain(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


@given(SIGNS)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    for before, behind in (("", ""), ("> ", ""), ("- golden: ", ""), ("**1. ", " x**")):
        shown = rendered(f"{before}{escaped(text)}{behind}")
        wanted = plain(f"{before.lstrip('>-*')}{text}{behind.rstrip('*')}")
        assert plain(shown) == wanted


def test_hostile_texts_bring_no_markup_into_the_card() -> None:
    answers = [
        SampleAnswer(variant=variant, text=HOSTILE, score=0.5, start=0, end=len(HOSTILE))
        for variant in ("original", "compressed")
    ]
    sample = Sample(
        asked=HOSTILE,
        context=f"{HOSTILE}\n\n# h\n- i",
        golden=[HOSTILE],
        golden_span=(4, 20),
        answers=answers,
    )
    card = "\n\n".join(
        samples_section(Report(curve=[], original_value=0.0, verdict="none", samples=[sample]))
    )
    tags = set(re.findall(r"</?([a-z0-9]+)", MarkdownIt("commonmark").render(card)))
    assert tags == {"h2", "p", "code", "strong", "blockquote", "ul", "li"}
    assert "](" not in card  # the service turns a card's links to files into its own
    assert (
        plain(rendered(card)).count(plain(HOSTILE)) == 5
    )  # question, context, golden and two answers


def test_answers_far_apart_are_quoted_with_what_stands_around_them() -> None:
    words = [f"word{index}" for index in range(400)]
    context = " ".join(words)
    first, second = (context.index(f"word{index} ") for index in (100, 300))
    quoted = excerpt(context, [(second, second + 7), (first, first + 7)], (first, first + 7))
    assert re.fullmatch(r"… .+ \*\*word100\*\* .+ … .+ word300 .+ …", quoted)
    assert set(re.findall(r"word\d+", quoted)) <= set(words)  # whole words only
    assert len(quoted) < 2 * (2 * AROUND + 2 * MAX_WORD + 7 + 8)


def test_close_answers_share_a_quotation_and_a_short_context_stands_whole() -> None:
    context = "The cat sat on\nthe mat. It purred."
    assert excerpt(context, [(0, 7), (4, 7)], (4, 7)) == "The **cat** sat on the mat. It purred."
    assert excerpt(context, [(0, 7)]) == "The cat sat on the mat. It purred."
    assert excerpt(context, [(27, 33)], (27, 33)).endswith("It **purred**.")


@pytest.mark.parametrize("length", [10_000, 3 * AROUND])
def test_long_answers_are_shortened_too(length: int) -> None:
    context = "x" * length
    answer = SampleAnswer(variant="original", text=context, score=1.0, start=0, end=length)
    sample = Sample(asked=context, context=context, golden=[context] * 50, answers=[answer])
    report = Report(curve=[], original_value=0.0, verdict="none", samples=[sample])
    assert len("".join(samples_section(report))) < 8 * MAX_CHARACTERS
    quoted = excerpt(f"a {context} b", [(2, 2 + length)])
    assert quoted.startswith("a xxx")
    assert quoted.endswith("xxx b")
    assert len(quoted) < 4 * (AROUND + MAX_WORD) + 8
