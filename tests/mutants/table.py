"""Which tests have to notice the faults of which module, without the help of others.

Where every named file can do without the shared fixtures, `ALONE` spares each mutant the import of
all that they need.
"""

from __future__ import annotations

ALONE = "--noconftest"

_PRUNING, _SEARCH = "tests/compress/pruning", "tests/compress/search"

TESTS: dict[str, tuple[str, ...]] = {
    "isslim/compress/pruning/axes.py": (ALONE, f"{_PRUNING}/test_axes.py"),
    "isslim/compress/pruning/selection.py": (ALONE, f"{_PRUNING}/test_selection.py"),
    "isslim/compress/pruning/repair.py": (ALONE, f"{_PRUNING}/test_repair_by_rows.py"),
    "isslim/compress/pruning/shrinkage.py": (ALONE, f"{_PRUNING}/test_shrinkage_steps.py"),
    "isslim/compress/pruning/rotation.py": (ALONE, f"{_PRUNING}/test_rotation.py"),
    "isslim/compress/pruning/ranking.py": (ALONE, f"{_PRUNING}/test_ranking.py"),
    "isslim/compress/pruning/moments.py": (ALONE, f"{_PRUNING}/test_moments.py"),
    "isslim/compress/search/budget.py": (ALONE, f"{_SEARCH}/test_within_budget.py"),
    "isslim/compress/search/candidates.py": (
        ALONE,
        f"{_SEARCH}/test_candidates.py",
        f"{_SEARCH}/test_orders_asked_for.py",
    ),
    "isslim/compress/search/order.py": (ALONE, f"{_SEARCH}/test_orders_asked_for.py"),
    "isslim/compress/search/rounds.py": (
        ALONE,
        f"{_SEARCH}/test_toy_rounds.py",
        f"{_SEARCH}/test_orders_asked_for.py",
    ),
    "isslim/compress/statistics/intervals.py": (
        ALONE,
        "tests/compress/statistics/test_interval_steps.py",
    ),
    "isslim/compress/measurement/verdict.py": (
        ALONE,
        "tests/compress/measurement/test_verdict_bounds.py",
        "tests/compress/measurement/test_verdict.py",
        "tests/compress/measurement/test_alternatives.py",
    ),
    "isslim/runtime/clock.py": (ALONE, "tests/runtime/test_clock.py"),
    "isslim/runtime/latency.py": (ALONE, "tests/runtime/test_latency.py"),
    "isslim/runtime/time_sources.py": (ALONE, "tests/runtime/test_clock.py"),
    "isslim/runtime/questions/spans.py": (ALONE, "tests/runtime/questions/test_spans.py"),
    "isslim/store/integrity.py": (ALONE, "tests/store/test_integrity.py"),
    "isslim/store/liveness.py": (ALONE, "tests/store/test_liveness.py"),
    "isslim/store/queue.py": (ALONE, "tests/store/test_queue.py"),
}
