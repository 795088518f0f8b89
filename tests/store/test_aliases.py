"""Aliases in the database: moved, rolled back, and every change on record."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import sqlalchemy as sa

from isslim.store import aliases as store_of_aliases
from isslim.store.aliases import MAX_EARLIER, AliasStore, Author
from isslim.store.comparisons import ComparisonStore, Tally, key_of
from isslim.store.errors import NotFound, NothingEarlier
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.schemas.aliases import AliasState, Candidate, Rule, Target

OLD, NEW, THIRD = "1" * 16, "2" * 16, "3" * 16
ME = Author("request-1", "10.0.0.7", "why not")


def state(model: str, canary: str | None = None) -> AliasState:
    tried = canary and Candidate(
        model=canary, variant="compressed", share=0.05, rule=Rule(change_below=0.1, requests=9)
    )
    return AliasState(model=model, variant="compressed-int8", canary=tried or None)


@pytest.fixture
def aliases(settings: StoreSettings) -> Iterator[AliasStore]:
    records = JobRecords(settings)
    yield AliasStore(records.engine)
    records.close()


def roll_back(aliases: AliasStore, gone: str = "") -> str:
    return aliases.roll_back("prod", ME, lambda model: model != gone).model


def test_rollback_goes_back_step_by_step_and_over_what_is_gone(aliases: AliasStore) -> None:
    for model in (OLD, NEW, NEW, THIRD):
        aliases.point("prod", state(model), ME)
    assert [str(each) for each in aliases.get("prod").earlier] == [
        f"{OLD}:compressed-int8",
        f"{NEW}:compressed-int8",
    ]
    assert roll_back(aliases) == NEW
    assert roll_back(aliases) == OLD
    with pytest.raises(NothingEarlier):
        roll_back(aliases)
    for model in (NEW, THIRD):
        aliases.point("prod", state(model), ME)
    assert roll_back(aliases, gone=NEW) == OLD
    with pytest.raises(NotFound, match="there is: prod"):
        aliases.roll_back("nope", ME, lambda model: True)


def test_rollback_ends_a_canary_first(aliases: AliasStore) -> None:
    aliases.point("prod", state(OLD), ME)
    aliases.point("prod", state(NEW, canary=THIRD), ME)
    assert aliases.naming(THIRD) == ["prod"]
    assert roll_back(aliases) == NEW
    assert aliases.get("prod").canary is None
    assert aliases.naming(THIRD) == []
    assert roll_back(aliases) == OLD


def test_trail_names_every_change_and_none_that_changed_nothing(aliases: AliasStore) -> None:
    for model in (OLD, OLD, NEW):
        aliases.point("prod", state(model), ME)
    roll_back(aliases)
    aliases.delete("prod", ME)
    assert aliases.all() == []
    assert aliases.point("prod", state(THIRD), Author("job 7")).version == 5
    trail = aliases.history("prod")
    assert [(each.version, each.action, each.by) for each in trail] == [
        (5, "set", "job 7"),
        (4, "deleted", "request-1"),
        (3, "rolled back", "request-1"),
        (2, "set", "request-1"),
        (1, "set", "request-1"),
    ]
    assert (trail[2].remote, trail[2].note) == ("10.0.0.7", "why not")
    models = [
        (each.before and each.before.model, each.after and each.after.model) for each in trail
    ]
    assert models == [(None, THIRD), (OLD, None), (NEW, OLD), (OLD, NEW), (None, OLD)]


def test_trial_ends_once_and_not_for_an_alias_that_was_moved_meanwhile(aliases: AliasStore) -> None:
    tried = Target(model=THIRD, variant="compressed")
    seen = aliases.point("prod", state(OLD, canary=THIRD), ME)
    assert aliases.end_trial(seen, tried, Author("rule"), promote=True)
    assert not aliases.end_trial(seen, tried, Author("rule"), promote=False)
    assert aliases.get("prod").target == tried
    assert roll_back(aliases) == OLD
    seen = aliases.point("prod", state(OLD, canary=THIRD), ME)
    assert aliases.end_trial(seen, tried, Author("rule", note="1 of 3 failed"), promote=False)
    assert (aliases.get("prod").model, aliases.get("prod").canary) == (OLD, None)
    assert aliases.history("prod")[0].note == "1 of 3 failed"


def rows(aliases: AliasStore, table: str, alias: str) -> int:
    counted = sa.text(f"SELECT count(*) FROM {table} WHERE alias = :alias")
    with aliases._engine.connect() as connection:
        return int(connection.execute(counted, {"alias": alias}).scalar_one())


def test_trail_and_comparisons_of_an_alias_are_bounded_and_the_way_back_stays(
    aliases: AliasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_of_aliases, "MAX_CHANGES", 5)
    comparisons = ComparisonStore(aliases._engine)
    aliases.point("other", state(OLD), ME)
    for number in range(30):
        found = aliases.point("prod", state(f"{number:016x}"), ME)
        comparisons.add(key_of(found, "candidate"), Tally(requests=number))
    assert [each.version for each in aliases.history("prod")] == [30, 29, 28, 27, 26]
    for table in ("iss_alias_changes", "iss_alias_comparisons"):
        assert rows(aliases, table, "prod") == 5
    assert comparisons.read(key_of(found, "candidate")).requests == 29
    assert len(aliases.history("other")) == 1
    for number in range(28, 28 - MAX_EARLIER, -1):  # through what the trail names no more
        assert roll_back(aliases) == f"{number:016x}"
    with pytest.raises(NothingEarlier):
        roll_back(aliases)


def test_trails_of_deleted_aliases_are_bounded(
    aliases: AliasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_of_aliases, "MAX_DELETED", 3)
    aliases.point("stays", state(OLD), ME)
    for number in range(6):
        made = aliases.point(f"a{number}", state(OLD), ME)
        ComparisonStore(aliases._engine).add(key_of(made, "candidate"), Tally())
        aliases.delete(f"a{number}", ME)
    kept = [rows(aliases, "iss_alias_changes", f"a{number}") for number in range(6)]
    assert kept == [0, 0, 0, 2, 2, 2]
    assert [rows(aliases, "iss_alias_comparisons", f"a{number}") for number in (2, 3)] == [0, 1]
    assert len(aliases.history("stays")) == 1
    assert aliases.point("a5", state(NEW), ME).version == 3  # its trail goes on
    assert aliases.point("a0", state(NEW), ME).version == 1  # and this one begins anew


def test_no_change_is_lost_among_others(settings: StoreSettings) -> None:
    databases = [JobRecords(settings) for _ in range(2)]
    stores = [AliasStore(each.engine) for each in databases]

    def change(number: int) -> None:
        stores[number % 2].point("prod", state(f"{number:016x}"), ME)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(16)))
    trail = stores[0].history("prod")
    assert sorted(each.version for each in trail) == list(range(1, 17))
    for newer, older in pairwise(trail):
        assert newer.before == older.after
    assert stores[1].get("prod").state == trail[0].after
    for each in databases:
        each.close()
