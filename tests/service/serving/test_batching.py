"""The order of turns: fair by cost, shared among what waits, within lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isslim.runtime.run_control import RunControl
from isslim.service.serving.batching import Account, FairQueue, Lane, Run, Turn


@dataclass(eq=False)
class Shared:
    """Takes up to so many inputs at once."""

    most: int = 1
    width: int | None = None

    @property
    def lane(self) -> Lane:
        return Lane(self, self.width)

    def choose(self, inputs: Sequence[object]) -> Sequence[int]:
        return range(min(self.most, len(inputs)))

    def run(self, inputs: Sequence[object], control: RunControl) -> list[tuple[object, float]]:
        return [(each, 1.0) for each in inputs]


@dataclass(eq=False)
class Asking(Account):
    """A job that has a name."""

    name: str
    is_late: bool = False
    finish: float = field(default=0.0)
    is_background: bool = False

    def is_over(self) -> bool:
        return self.is_late


def turn(account: Asking, runner: Shared, cost: float = 1.0) -> Turn[Asking]:
    return Turn(account, runner.lane, Run(runner, account.name, cost))


def taken(queue: FairQueue[Asking]) -> str:
    """What comes next, as a word of its jobs' names; it ends at once."""
    turns = queue.take()
    if turns:
        queue.ended(turns)
    return "".join(each.account.name for each in turns)


def test_what_costs_alike_comes_in_the_order_in_which_it_was_asked_for() -> None:
    queue, runner = FairQueue[Asking](), Shared()
    for name in "abc":
        queue.put(turn(Asking(name), runner))
    assert [taken(queue) for _ in range(4)] == ["a", "b", "c", ""]


def test_job_that_asks_for_much_gets_no_more_than_those_that_ask_for_little() -> None:
    """One job of long runs beside two that ask again and again: each is given as much."""
    queue, runner = FairQueue[Asking](), Shared()
    large, small, other = Asking("L"), Asking("s"), Asking("o")
    given = dict.fromkeys("Lso", 0.0)
    costs = {"L": 64.0, "s": 16.0, "o": 32.0}
    for account in (large, small, other):
        queue.put(turn(account, runner, costs[account.name]))
    longest = 0
    since = 0
    for _ in range(700):
        name = taken(queue)
        given[name] += costs[name]
        since = since + 1 if name == "L" else 0
        longest = max(longest, since)
        account = {"L": large, "s": small, "o": other}[name]
        queue.put(turn(account, runner, costs[name]))
    assert max(given.values()) - min(given.values()) <= 64
    assert longest == 1


def test_new_job_is_not_held_up_by_what_others_have_asked_for_before() -> None:
    queue, runner = FairQueue[Asking](), Shared()
    large = Asking("L")
    for _ in range(100):
        queue.put(turn(large, runner, 64))
    assert [taken(queue) for _ in range(3)] == ["L", "L", "L"]
    queue.put(turn(Asking("s"), runner, 10))
    assert [taken(queue) for _ in range(3)] == ["s", "L", "L"]


def test_job_that_was_idle_has_saved_nothing_up() -> None:
    queue, runner = FairQueue[Asking](), Shared()
    idle, busy = Asking("i"), Asking("b")
    queue.put(turn(idle, runner))
    assert taken(queue) == "i"
    for _ in range(5):
        queue.put(turn(busy, runner, 10))
    assert [taken(queue) for _ in range(5)] == ["b"] * 5
    for account in (idle, busy, idle, busy):
        queue.put(turn(account, runner, 10))
    assert [taken(queue) for _ in range(4)] == ["i", "b", "i", "b"]


def test_job_goes_on_at_once_whatever_its_runs_have_cost() -> None:
    queue, runner = FairQueue[Asking](), Shared()
    large = Asking("L")
    queue.put(turn(large, runner, 1000))
    queue.put(turn(Asking("a"), runner))
    assert [taken(queue) for _ in range(2)] == ["L", "a"]
    queue.put(turn(Asking("b"), runner))
    queue.put(Turn(large, Lane("model", 8)))
    queue.put(turn(large, runner))
    queue.put(turn(Asking("c"), runner))
    assert [taken(queue) for _ in range(4)] == ["b", "L", "c", "L"]


def test_run_is_shared_by_what_waits_for_the_same_runner() -> None:
    queue, together, apart = FairQueue[Asking](), Shared(most=3), Shared()
    for name in "abcd":
        queue.put(turn(Asking(name), together))
        queue.put(turn(Asking(name.upper()), apart))
    assert [taken(queue) for _ in range(6)] == ["abc", "A", "B", "C", "d", "D"]


def test_lane_has_no_more_runs_than_it_is_wide_and_others_pass_it() -> None:
    queue, narrow, wide = FairQueue[Asking](), Shared(width=1), Shared()
    for name in "ab":
        queue.put(turn(Asking(name), narrow))
    queue.put(turn(Asking("c"), wide))
    first = queue.take()
    assert [each.account.name for each in first] == ["a"]
    assert [taken(queue), taken(queue)] == ["c", ""]
    assert not queue.is_ready()
    queue.ended(first)
    assert taken(queue) == "b"


def test_what_is_over_or_dropped_takes_no_turn_and_no_place_in_a_shared_run() -> None:
    queue, runner = FairQueue[Asking](), Shared(most=8)
    accounts = {name: Asking(name) for name in "abcd"}
    for account in accounts.values():
        queue.put(turn(account, runner))
    accounts["a"].is_late = True
    accounts["c"].is_late = True
    queue.drop(accounts["d"])
    assert taken(queue) == "b"
    queue.put(turn(accounts["a"], runner))
    assert taken(queue) == ""
    assert not queue.is_ready()


def test_background_comes_last_whatever_it_costs_and_shares_no_run_with_others() -> None:
    queue, runner, other = FairQueue[Asking](), Shared(most=8), Shared()
    for name in "xy":
        queue.put(turn(Asking(name, is_background=True), runner, 0.1))
    queue.put(turn(Asking("z", is_background=True), other, 0.1))
    for name in "ab":
        queue.put(turn(Asking(name), runner, 50.0))
    queue.put(turn(Asking("c"), other, 500.0))
    assert [taken(queue) for _ in range(4)] == ["ab", "c", "xy", "z"]
    # What it was given counts for nobody else.
    queue.put(turn(Asking("d"), runner))
    assert taken(queue) == "d"
