"""Special tokens under their many names, and ordinary tokens that only look like them."""

from __future__ import annotations

import pytest

from isslim.compress.kinds.language.ingest.special_tokens import (
    ENDS,
    STARTS,
    UNKNOWN,
    find,
    special,
)


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("<unk>", "unk"),
        ("[UNK]", "unk"),
        ("UNK", "unk"),
        ("<|endoftext|>", "endoftext"),
        ("</s>", "/s"),
        ("__PAD__", "pad"),
        ("{mask}", "mask"),
        ("@@UNKNOWN@@", "unknown"),
        ("(eos)", "eos"),
        ("xxunk", "unk"),
        ("UNK_TOKEN", "unk"),
        ("SENTENCE_START", "start"),
        ("<bos_token>", "bos"),
        ("_UNK", "unk"),
        ("<extra word>", "extra word"),
    ],
)
def test_special_tokens_have_a_name(token: str, name: str) -> None:
    assert special(token) == name


@pytest.mark.parametrize(
    "token", ["the", "", "<", "(sic)", "_the", "xxvii", "unk", "-year-", "$5$"]
)
def test_ordinary_tokens_have_none(token: str) -> None:
    assert special(token) is None


def test_names_are_sought_in_their_order_before_spellings() -> None:
    assert find(["the", "<oov>", "<unk>"], UNKNOWN) == "<unk>"
    assert find(["[UNK]", "<unk>"], UNKNOWN) == "<unk>"  # lower case
    assert find(["[unk]", "<unk>"], UNKNOWN) == "<unk>"  # angle brackets
    assert find(["[PAD]", "[EOS]"], (*STARTS, *ENDS)) == "[EOS]"
    assert find(["the", "cat"], UNKNOWN) is None
