"""Which requests an alias sends to its canary."""

from __future__ import annotations

from datetime import UTC, datetime

from isslim.service.serving.destinations import destination
from isslim.types.schemas.aliases import Alias, Candidate

NEW = Candidate(model="2" * 16, variant="compressed", share=0.05)
ALIAS = Alias(
    model="1" * 16,
    variant="original",
    canary=NEW,
    alias="prod",
    version=1,
    changed_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def users(alias: Alias) -> set[int]:
    return {each for each in range(4000) if destination(alias, f"user-{each}").is_canary}


def test_share_of_a_canary_lies_in_its_binomial_interval() -> None:
    # 99 % of binomial(4000, 0.05): 165 to 236.
    assert 165 <= len(users(ALIAS)) <= 236


def test_further_canary_is_tried_by_others() -> None:
    other = NEW.model_copy(update={"model": "3" * 16})
    both = users(ALIAS) & users(ALIAS.model_copy(update={"canary": other}))
    assert len(both) < 30  # 10 are expected


def test_request_goes_to_what_the_alias_or_the_canary_names() -> None:
    found = [destination(ALIAS, f"{each}") for each in range(200)]
    assert {(each.model, each.variant, each.is_canary) for each in found} == {
        ("1" * 16, "original", False),
        ("2" * 16, "compressed", True),
    }
    assert destination("4" * 16, "any").model == "4" * 16


def test_text_that_goes_on_stays_with_the_model_that_has_read_it() -> None:
    for model, is_canary in (("1" * 16, False), ("2" * 16, True)):
        found = [destination(ALIAS, f"{each}", model) for each in range(200)]
        assert {each.is_canary for each in found} == {is_canary}
    # One of another model is refused wherever it goes, and both variants of one model can go on.
    same = ALIAS.model_copy(update={"canary": NEW.model_copy(update={"model": "1" * 16})})
    for alias, model in ((ALIAS, "5" * 16), (same, "1" * 16)):
        found = [destination(alias, f"{each}", model) for each in range(200)]
        assert {each.is_canary for each in found} == {True, False}
