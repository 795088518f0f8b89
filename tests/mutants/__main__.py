"""`make mutants`: changes a module in one place after another, and counts what its tests notice.

Neither mutmut nor cosmic-ray is used as a program. mutmut 3 changes nothing outside plain functions
(no property, no constant, no default of a dataclass), and takes every test that comes by a line,
not the module's own. cosmic-ray starts a new interpreter for each mutant, which here takes seconds
for imports alone. So mutmut supplies the changes (`mutating`), and a forked process runs the tests
(`running`). A module whose text and tests are those of its record is not run again; a run that was
broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.mutating import Mutant, mutants_of
from tests.mutants.records import Acceptance, Record, digest_of, read_record
from tests.mutants.running import BaselineFailed, Runner, copied_tree
from tests.mutants.table import TESTS

ROOT = Path(__file__).parents[2]
LEAST = 0.85
"""Of a module's mutants, the share that its tests have to notice."""
SAVED_EVERY = 10


def main() -> int:
    """Parses the command line, runs, and tells what survived."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths of modules; all of the table without")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="only every n-th mutant: a sample, which is not recorded",
    )
    parser.add_argument(
        "--survivors", action="store_true", help="only those that survived the last run"
    )
    parser.add_argument(
        "--since",
        metavar="COMMIT",
        help="only what the module at a commit had not, and those that survived the last run",
    )
    parser.add_argument("--again", action="store_true", help="even where nothing has changed")
    asked = parser.parse_args()
    unknown = [name for name in asked.modules if name not in TESTS]
    if unknown:
        parser.error(f"not in the table of modules: {', '.join(unknown)}")
    records, failed = list[Record](), False
    for module in asked.modules or TESTS:
        try:
            record = _tried(module, asked)
        except BaselineFailed as error:
            _say(f"{module}: its tests do not pass without a fault\n{error}")
            failed = True
            continue
        _report(record)
        records.append(record)
    if len(records) > 1:
        _total(records)
    return int(failed or any(record.share < LEAST for record in records))


def _tried(module: str, asked: argparse.Namespace) -> Record:
    """The record of a module once its mutants are tried, as far as that is not known."""
    tests, mutants = TESTS[module], mutants_of((ROOT / module).read_text())
    digest, acceptance = digest_of(ROOT, module, tests), Acceptance(module)
    last, fresh = read_record(ROOT, module), Record(module, digest, len(mutants))
    if asked.every > 1:
        return _run(fresh, mutants[:: asked.every], tests, acceptance, keep=False)
    if last is not None and (asked.survivors or asked.since):
        new = new_since(ROOT, asked.since, module) if asked.since else []
        return _again(last, fresh, new, mutants, acceptance)
    if last is not None and last.digest == digest and not asked.again:
        last.survivors = [acceptance.judge(each) for each in last.survivors]
        fresh = last
    record = _run(fresh, mutants[fresh.done :], tests, acceptance, keep=True)
    for change in acceptance.unused(record.survivors):
        _say(f"{module}: accepted, but no mutant that has it survives: {change}")
    return record


def new_since(root: Path, commit: str, module: str) -> list[Mutant]:
    """The mutants of lines that a module at a commit did not have.

    Args:
        root: of the working tree.
        commit: as git names it.
        module: path in the tree.
    """
    show = ["git", "show", f"{commit}:{module}"]
    source = subprocess.run(show, cwd=root, capture_output=True, text=True, check=True).stdout
    before = {mutant.change for mutant in mutants_of(source)}
    found = mutants_of((root / module).read_text())
    return [mutant for mutant in found if mutant.change not in before]


def _again(
    last: Record,
    fresh: Record,
    new: Sequence[Mutant],
    mutants: Sequence[Mutant],
    acceptance: Acceptance,
) -> Record:
    """Tries the survivors of the last run alone, and new mutants.

    That is right where tests were only added since, and no line of the module changed whose mutants
    are not among the new ones: what was noticed still is.
    """
    known = {(each.before, each.after) for each in last.survivors}
    for before, after in known - {mutant.change for mutant in mutants}:
        _say(f"{last.module}: this survivor is gone with its line: {before} -> {after}")
    known |= {mutant.change for mutant in new}
    record = _run(
        fresh,
        [mutant for mutant in mutants if mutant.change in known],
        TESTS[last.module],
        acceptance,
        keep=False,
    )
    record.done = len(mutants)
    record.write(ROOT)
    return record


def _run(
    record: Record,
    mutants: Sequence[Mutant],
    tests: Sequence[str],
    acceptance: Acceptance,
    *,
    keep: bool,
) -> Record:
    """Tries mutants and adds them to a record; one that is kept is written from time to time."""
    if mutants:
        with copied_tree(ROOT) as tree:
            runner = Runner(tree, record.module, tests)
            _say(f"{record.module}: {len(mutants)} mutants of {runner.prepare():.1f} s of CPU time")
            began = time.monotonic()
            for count, mutant in enumerate(mutants, 1):
                if not runner.kills(mutant.source):
                    record.survivors.append(acceptance.judge(mutant))
                record.done += 1
                if count % SAVED_EVERY == 0:
                    _progress(f"{count}/{len(mutants)}, {time.monotonic() - began:.0f} s")
                    if keep:
                        record.write(ROOT)
    if keep:
        record.write(ROOT)
    return record


def _report(record: Record) -> None:
    for each in record.open:
        _say(f"  {record.module}:{each.line}\n    - {each.before}\n    + {each.after}")
    accepted = len(record.survivors) - len(record.open)
    _say(
        f"{record.module}: {record.killed} of {record.done} killed, {len(record.open)} survive, "
        f"{accepted} accepted: {record.share:.1%}"
    )


def _total(records: Sequence[Record]) -> None:
    width = max(len(record.module) for record in records)
    _say(f"\n{'module':{width}}  mutants  killed  accepted  survive  share")
    for record in records:
        accepted = len(record.survivors) - len(record.open)
        _say(
            f"{record.module:{width}}  {record.done:7}  {record.killed:6}  {accepted:8}  "
            f"{len(record.open):7}  {record.share:.1%}"
        )
    killed, left = (
        sum(each) for each in zip(*((r.killed, len(r.open)) for r in records), strict=True)
    )
    _say(
        f"in all: {killed} of {killed + left} that had to be noticed were "
        f"({killed / max(killed + left, 1):.1%})"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{line}\033[K\r")


if __name__ == "__main__":
    sys.exit(main())
