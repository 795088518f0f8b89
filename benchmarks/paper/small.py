"""The paper's experiment at small size: group lasso from random weights and from a baseline.

    python -m benchmarks.paper.small [--corpus pydoc] [--units 64] [--epochs 6]
        [--strengths 0.004 0.008] [--out data/paper-small/CORPUS] [--json]

`make paper-small CORPUS=FOLDER` is the same. It trains a dense baseline, trains it on without a
penalty as a control, and then for every strength a network from random weights or from the
baseline. Each is a `python -m isslim.compress train`
with the paper's loss summed over the steps, its three stages of the learning rate and its threshold
(docs/method.md). A run that was stopped continues, and finished ones are not repeated. The folder
gets a folder for each run, `report.md`, its pictures, and `record.json` with everything measured.

With a corpus of Penn Treebank's size the default takes about an hour of one core, less of two.
`--tokens` bounds longer ones, and `--minutes` every run; what was cut short is marked in every
table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.figures import draw, histogram
from benchmarks.paper.report import markdown
from isslim.compress import __main__ as compress

RECORD, REPORT = "record.json", "report.md"
SAME = {
    "loss": "sum_over_steps",
    "learning-rate": "1.0",
    "clip": "10.0",
    "schedule": "paper_iss",
    "keep": "last",
}
"""Options of every run, the baseline too, so that the penalty is all that differs."""
SCALE = 0.05
"""Of random weights. Half of `train`'s: what the penalty takes off a norm in a short training would
not be enough for the groups that hold a column of the softmax."""
CHOSEN = (
    "vocabulary",
    "units",
    "epochs",
    "strengths",
    "tuned_strengths",
    "dropout",
    "tokens",
    "minutes",
    "seed",
    "threads",
)
"""Options that a record repeats."""
KEPT = (
    "epoch",
    "steps",
    "seconds",
    "units",
    "removed",
    "group_norms",
    "training_perplexity",
    "valid_perplexity",
)
"""Fields of an epoch that the record keeps."""


@dataclass(frozen=True)
class Run:
    """One training of the series.

    Attributes:
        name: of its folder.
        start: `random weights` or `baseline`.
        strength: of the group lasso; None for the baseline and its control.
    """

    name: str
    start: str
    strength: float | None


def main() -> None:
    """Trains what is missing, and writes the report after each run."""
    parser = parser_of()
    arguments = parser.parse_args()
    out = arguments.out or Path("data") / "paper-small" / Path(arguments.corpus).name
    record = carry_out(arguments, out)
    if arguments.json:
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        sys.stdout.write(f"{(out / REPORT).read_text()}\nWritten: {out / REPORT}\n")


def parser_of() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc", help="ptb, gutenberg, pydoc or a folder")
    parser.add_argument("--out", type=Path, help="default: data/paper-small/ and the corpus's name")
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--units", type=int, default=64, help="of each of two layers")
    parser.add_argument(
        "--epochs", type=int, default=6, help="of each run; three stages: a multiple of 3"
    )
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.004, 0.008], help="from random weights"
    )
    parser.add_argument(
        "--tuned-strengths",
        type=float,
        nargs="+",
        default=[0.008, 0.016],
        help="from the baseline, whose norms are larger",
    )
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument(
        "--tokens", type=int, default=1_000_000, help="of the training text, from its beginning"
    )
    parser.add_argument("--minutes", type=float, help="of each run, which the clock then ends")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--json", action="store_true", help="the record on standard output")
    return parser


def series(strengths: Sequence[float], tuned_strengths: Sequence[float]) -> list[Run]:
    """The baseline, its training continued without a penalty, and both ways at their strengths.

    Args:
        strengths: of runs from random weights.
        tuned_strengths: of runs from the baseline.

    Raises:
        ValueError: when there is no strength, one twice, or one that is not above zero.
    """
    for each in (strengths, tuned_strengths):
        if not each or len(set(each)) < len(each) or min(each) <= 0:
            raise ValueError(f"strengths {list(each)}: distinct numbers above zero are expected")
    runs = [Run("baseline", "random weights", None), Run("continued", "baseline", None)]
    runs += [Run(f"scratch-{each:g}", "random weights", each) for each in strengths]
    return runs + [Run(f"tuned-{each:g}", "baseline", each) for each in tuned_strengths]


def carry_out(arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains what is missing; returns the record, which lies in the folder with its report.

    Args:
        arguments: the options.
        out: the folder.

    Raises:
        SystemExit: when a run fails; its command says why.
        FileExistsError: when the folder holds a run of other options.
    """
    runs = series(arguments.strengths, arguments.tuned_strengths)
    found: dict[str, dict[str, Any]] = {}
    for number, run in enumerate(runs, 1):
        words = command(run, arguments, out)
        finished = _finished(out / run.name, words)
        if finished is None:
            _say(f"run {number} of {len(runs)}: {run.name}")
            with_stdout_on_stderr(words)
            finished = json.loads((out / run.name / RECORD).read_text())
        found[run.name] = finished
        record = record_of(arguments, runs, found)
        (out / RECORD).write_text(as_text(record))
        draw(record, out)
        (out / REPORT).write_text(markdown(record))
    return record


def command(run: Run, arguments: argparse.Namespace, out: Path) -> list[str]:
    """The words after `python -m isslim.compress` that train one run.

    Args:
        run: of the series.
        arguments: the options of the series.
        out: its folder.
    """
    options = {
        "corpus": arguments.corpus,
        "tokens": arguments.tokens,
        "epochs": arguments.epochs,
        "minutes": arguments.minutes,
        "dropout": arguments.dropout,
        "seed": arguments.seed,
        "threads": arguments.threads,
        "device": "cpu",
        **SAME,
        "out": out / run.name,
    }
    if run.start == "baseline":
        options["start"] = out / "baseline"
    else:
        options |= {
            "vocabulary": arguments.vocabulary,
            "units": arguments.units,
            "scale": SCALE,
        }
    if run.strength is not None:
        options |= {"learner": "group_lasso", "learner-option": f"strength={run.strength:g}"}
    given = {name: value for name, value in options.items() if value is not None}
    return ["train", "lstm", *(f"--{name}={value}" for name, value in given.items())]


def with_stdout_on_stderr(words: list[str]) -> None:
    """Runs a command of `isslim.compress` with its lines on standard error.

    Raises:
        SystemExit: when it fails.
    """
    with redirect_stdout(sys.stderr):
        status = compress.main(words)
    if status:
        raise SystemExit(status)


def record_of(
    arguments: argparse.Namespace, runs: Sequence[Run], found: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Everything measured, without paths of this machine.

    Args:
        arguments: the options.
        runs: the whole series.
        found: the records of the runs that are finished, by name.
    """
    first = found["baseline"]
    settings = {name: getattr(arguments, name) for name in CHOSEN}
    words = " ".join(_words(settings))
    return {
        "command": f"python -m benchmarks.paper.small --corpus CORPUS {words}",
        "corpus": {
            "name": Path(arguments.corpus).name,
            "vocabulary": first["vocabulary"],
            "tokens": first["tokens"],
            "left_out": first["left_out"],
            "unknown_share": first["unknown_share"],
        },
        "settings": settings,
        "versions": first["versions"],
        "machine": first["machine"],
        "seconds": round(sum(each["seconds"] for each in found.values()), 1),
        "runs": [row(run, found.get(run.name)) for run in runs],
    }


def row(run: Run, record: dict[str, Any] | None) -> dict[str, Any]:
    """One run of the record; only its name, start and strength until it is finished.

    Args:
        run: of the series.
        record: that training wrote.
    """
    named = {"name": run.name, "start": run.start, "strength": run.strength}
    if record is None:
        return named | {"finished": False}
    chosen = (
        "units",
        "parameters",
        "mult_adds",
        "valid_perplexity",
        "test_perplexity",
        "length",
        "seconds",
        "setbacks",
    )
    return (
        named
        | {"finished": True}
        | {key: record[key] for key in chosen}
        | {
            "norms": {axis: histogram(norms) for axis, norms in record["norms"].items()},
            "epochs": [{key: epoch[key] for key in KEPT} for epoch in record["epochs"]],
        }
    )


def as_text(record: dict[str, Any]) -> str:
    """JSON with one line for each run's epoch and histogram, so that a difference can be read."""
    text = json.dumps(record | {"runs": []}, indent=1)
    lines = []
    for run in record["runs"]:
        parts = [f'   "{key}": ' + _nested(value) for key, value in run.items()]
        lines.append("  {\n" + ",\n".join(parts) + "\n  }")
    return text.replace('"runs": []', '"runs": [\n' + ",\n".join(lines) + "\n ]") + "\n"


def _nested(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {json.dumps(each)}" for each in value) + "\n   ]"
    return json.dumps(value)


def _finished(folder: Path, words: list[str]) -> dict[str, Any] | None:
    """The record of a finished run with the same options; None where there is none yet.

    Raises:
        FileExistsError: when the folder holds a finished run of other options.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    asked = json.loads(json.dumps(vars(compress.parser_of().parse_args(words)), default=str))
    # Threads and paths may change with the machine; the run is the same.
    free = {"threads", "out", "start", "corpus", "run", "command", "checkpoint_minutes"}
    other = {
        name: (record["options"].get(name), value)
        for name, value in asked.items()
        if name not in free and record["options"].get(name) != value
    }
    if other:
        differences = "; ".join(
            f"{name}: {was} there, {now} now" for name, (was, now) in other.items()
        )
        raise FileExistsError(
            f"{folder} holds a run of other options ({differences}); delete it, or name another "
            "folder with --out"
        )
    return record


def _words(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if value is not None and name != "threads":
            shown = " ".join(f"{each:g}" for each in value) if isinstance(value, list) else value
            yield f"--{name.replace('_', '-')} {shown}"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
