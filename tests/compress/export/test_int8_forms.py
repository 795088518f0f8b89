"""The forms in words, and the record of what took 8 bits."""

from __future__ import annotations

import pytest

from isslim.compress.export.int8_forms import FORMS, EightBit, Form, Part, PartCount, eight_bit


def test_forms_are_all_there_are_the_fastest_first_and_each_says_another_thing() -> None:
    assert [(form.recurrent, form.products) for form in FORMS] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert len({form.description for form in FORMS}) == 4
    assert FORMS[0].description == "8 bits, one scale for a matrix"
    assert Form(recurrent=True).description.startswith("8 bits, a scale per column of recurrent")
    assert Form(products=True).description.startswith("8 bits, one scale for a recurrent matrix")
    assert FORMS[3].description == "8 bits, a scale per column"


def test_parts_that_stay_are_named_in_order() -> None:
    form = Form(True, True, frozenset({Part.SOFTMAX, Part.EMBEDDING}))
    assert form.description == "8 bits, a scale per column; float32: embedding, softmax"


@pytest.mark.parametrize(
    ("counts", "parts", "rest"),
    [
        ({}, [], []),
        (
            dict.fromkeys([Part.SOFTMAX, Part.EMBEDDING], PartCount(1, 1)),
            ["embedding", "softmax"],
            [],
        ),
        (
            {Part.RECURRENT: PartCount(2, 3)},
            ["2 of 3 recurrent layers"],
            ["the other recurrent layers"],
        ),
        ({Part.PRODUCTS: PartCount(0, 4)}, [], ["matrix products"]),
        ({Part.PRODUCTS: PartCount(0, 0)}, [], []),
    ],
)
def test_the_record_says_what_was_counted(
    counts: dict[Part, PartCount], parts: list[str], rest: list[str]
) -> None:
    assert eight_bit(counts) == EightBit(parts, rest)
