"""Sums of comparisons, added by several processes at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from isslim.store.comparisons import FIGURES, ComparisonStore, Key, Tally
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings

KEY = Key("prod", 3, "1111111111111111:compressed")


def test_no_sum_is_lost_among_others(settings: StoreSettings) -> None:
    databases = [JobRecords(settings) for _ in range(2)]
    stores = [ComparisonStore(each.engine) for each in databases]
    assert stores[0].read(KEY) == Tally()

    def add(number: int) -> None:
        tally = Tally(failed=1, dropped=2)
        tally.note(dict.fromkeys(FIGURES, float(number)))
        stores[number % 2].add(KEY, tally)
        stores[number % 2].add(Key("prod", 4, KEY.candidate), tally)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(16)))
    found = stores[0].read(KEY)
    assert (found.requests, found.failed, found.dropped) == (16, 16, 32)
    for name in FIGURES:
        assert found.sums[f"{name}_sum"] == sum(range(16))
        assert found.sums[f"{name}_squares"] == sum(number**2 for number in range(16))
    for each in databases:
        each.close()
