"""The mutants that tests are held against: each is one change of what a module does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutants import records
from tests.mutants.__main__ import new_since
from tests.mutants.mutating import mutants_of
from tests.mutants.running import BaselineFailed, Runner
from tests.mutants.table import TESTS

ROOT = records.HERE.parents[1]
SOURCE = '''"""A text."""
from __future__ import annotations
Numbers = list[int]
LIMIT = 3

def kept(pairs: Numbers, others: Numbers, *, start: int = 0) -> Numbers:
    """Those below."""
    return [a for a, b in zip(pairs, others, strict=True) if a - b < LIMIT][start:]
'''


def test_each_mutant_is_one_change_of_what_runs() -> None:
    found = mutants_of(SOURCE)
    assert {mutant.after for mutant in found} == {
        "LIMIT = None",
        "LIMIT = 4",
        "def kept(pairs: Numbers, others: Numbers, *, start: int = 1) -> Numbers:",
        "return [a for a, b in zip(others, strict=True) if a - b < LIMIT][start:]",
        "return [a for a, b in zip(pairs, strict=True) if a - b < LIMIT][start:]",
        "return [a for a, b in zip(pairs, others, strict=True) if a + b < LIMIT][start:]",
        "return [a for a, b in zip(pairs, others, strict=True) if a - b <= LIMIT][start:]",
    }
    lines = SOURCE.splitlines()
    for mutant in found:
        changed = mutant.source.splitlines()
        assert lines[mutant.line - 1] == changed[mutant.line - 1].replace(
            mutant.after, mutant.before
        )
        assert sum(a != b for a, b in zip(lines, changed, strict=True)) == 1


def test_change_over_several_lines_is_described_as_one() -> None:
    found = {(each.line, each.before, each.after) for each in mutants_of("f(\n    1,\n    a,\n)\n")}
    assert (3, "a, )", ")") in found


@pytest.mark.slow
def test_fault_is_noticed_and_a_wait_without_end_is_ended(tmp_path: Path) -> None:
    for folder in ("isslim", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    module, test = "isslim/added.py", "tests/test_added.py"
    right = "def added(a, b):\n    return a + b\n"
    (tmp_path / module).write_text(right)
    (tmp_path / test).write_text(
        "from isslim.added import added\n\ndef test_sum():\n    assert added(1, 2) == 3\n"
    )
    runner = Runner(tmp_path, module, [test], patience=0.1)
    runner.prepare()
    assert runner.kills(right.replace("+", "-"))
    assert runner.kills(right.replace("return", "while True: pass\n    return"))
    assert not runner.kills(right.replace("a + b", "b + a"))
    assert (tmp_path / module).read_text() == right


def test_mutants_since_a_commit_are_those_of_other_lines(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        named = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *named, *arguments], cwd=tmp_path, check=True)

    (tmp_path / "module.py").write_text(SOURCE)
    git("init", "-q")
    git("add", "module.py")
    git("commit", "-q", "-m", "first")
    assert new_since(tmp_path, "HEAD", "module.py") == []
    moved = SOURCE.replace("LIMIT = 3", "# Why.\nLIMIT = 3").replace("a - b", "b - a")
    (tmp_path / "module.py").write_text(moved)
    found = new_since(tmp_path, "HEAD", "module.py")
    assert {each.line for each in found} == {9}
    assert any("b + a" in each.after for each in found)


def test_tests_that_fail_by_themselves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "module.py").write_text("")
    (tmp_path / "tests/test_wrong.py").write_text("def test_wrong():\n    assert False\n")
    with pytest.raises(BaselineFailed, match="assert False"):
        Runner(tmp_path, "module.py", ["tests/test_wrong.py"]).prepare()


def test_result_holds_until_code_changes(tmp_path: Path) -> None:
    def digest(source: str) -> str:
        (tmp_path / "module.py").write_text(source)
        return records.digest_of(tmp_path, "module.py", ["--option", "tests/of_it.py"])

    reworded = SOURCE.replace("Those below.", "The smaller ones.").replace("= 3", "= 3  # why")
    assert digest(SOURCE) == digest(reworded) != digest(SOURCE.replace("= 3", "= 4"))


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    survivors = [records.Survivor(1, "a < b", "a <= b"), records.Survivor(2, "1", "2", "the same")]
    record = records.Record("isslim/x.py", "0", mutants=9, done=8, survivors=survivors)
    assert (record.killed, record.share) == (6, 6 / 7)
    record.write(tmp_path)
    assert records.read_record(tmp_path, "isslim/x.py") == record
    assert records.read_record(tmp_path, "isslim/y.py") is None


def test_a_reason_is_of_one_change_and_of_one_line_where_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "accepted").mkdir()
    (tmp_path / "accepted" / "isslim.x.toml").write_text(
        '[[accepted]]\nchange = "1.0,"\nbefore = "0.0,"\nreason = "not read"\n'
        '[[accepted]]\nchange = "a <= b"\nreason = "never equal"\n'
    )
    monkeypatch.setattr(records, "HERE", tmp_path)
    acceptance = records.Acceptance("isslim/x.py")
    for before, after, reason in (
        ("0.0,", "1.0,", "not read"),
        ("f(0.0, c)", "f(1.0, c)", ""),
        ("if a < b:", "if a <= b:", "never equal"),
        ("if a < b and a <= b:", "if a < b or a <= b:", ""),
    ):
        assert acceptance.judge(records.Survivor(1, before, after)).reason == reason
    assert acceptance.unused([records.Survivor(1, "0.0,", "1.0,")]) == ["a <= b"]


@pytest.mark.parametrize("module", TESTS)
def test_every_survivor_has_its_reason_and_every_reason_its_survivor(module: str) -> None:
    record, acceptance = records.read_record(ROOT, module), records.Acceptance(module)
    assert record is not None
    assert [acceptance.judge(each) for each in record.survivors] == record.survivors
    assert [(each.line, each.after) for each in record.open] == []
    assert acceptance.unused(record.survivors) == []


@pytest.mark.parametrize("module", TESTS)
def test_modules_of_the_table_exist(module: str) -> None:
    assert (ROOT / module).exists()
