"""What the demo shows of a finished bundle: removed units, continued texts, next commands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isslim.runtime.language.generation import TokenStream, beginning, read
from isslim.runtime.language.sampling import Sampler, Sampling
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.settings.service import ServiceSettings
from isslim.types.manifest import PRIMARY_SHAPE, Manifest, Ratio, VariantRecord
from isslim.types.report import Report
from isslim.types.wording import axis_name, directions_left

WIDTH = 32
"""Characters of the longest bar."""
RUNS = {"sentence": PRIMARY_SHAPE, "step": (1, 1), "batch": (30, 10)}
"""Steps and sequences of the timed runs, by their names in the summary."""
KEPT, REMOVED = "█", "░"
TEMPERATURE = 0.7
"""Divides the logits: below 1 likely words become likelier."""


def removal_lines(manifest: Manifest, small: VariantRecord) -> Iterator[str]:
    """A bar for each layer that lost units, or is read through fewer directions; what that saves.

    Args:
        manifest: of the bundle.
        small: a compressed variant.
    """
    original = manifest.variants[0]
    before = {part.name: part.width for part in original.parts}
    units = [
        (part.name, before[part.name], part.width, "{} units kept")
        for part in small.parts
        if part.name in before
    ]
    narrow = [
        (axis_name(axis), old or 0, new, "read through {} directions")
        for axis, (old, new) in directions_left(original.sizes, small.sizes).items()
    ]
    rows = [row for row in (*units, *narrow) if row[2] < row[1]]
    longest = max((width for _, width, *_ in rows), default=1)
    indent = max((len(name) for name, *_ in rows), default=0)
    for name, width, kept, words in rows:
        bar = max(1, round(WIDTH * width / longest))
        full = min(bar, max(1, round(bar * kept / width))) if kept else 0
        picture = KEPT * full + REMOVED * (bar - full)
        left = words.format(f"{kept:,} of {width:,}")
        yield f"{name:<{indent}}  {picture:<{WIDTH}}  {left}"
    if not rows:
        yield "no layer lost a unit, and none is read through fewer directions"
    for what, old, new in (
        ("parameters", original.parameters, small.parameters),
        ("multiply-adds per token", original.mult_adds, small.mult_adds),
    ):
        yield f"{what}: {old:,} -> {new:,} ({1 - new / old:.0%} removed)"


def summary(manifest: Manifest, small: VariantRecord) -> dict[str, Any]:
    """The figures of the demo, for programs.

    Args:
        manifest: of the bundle.
        small: a compressed variant.

    Returns:
        `rise`, the relative rise of perplexity; `units_before` and `units_after`, those of all
        recurrent layers together; `over_int8` and `over_original`, how many times as fast as int8
        alone and the original, for a `sentence`, a `step` and a `batch`: null where that was not
        timed, or not steadily.
    """
    timed = {(each.steps, each.batch): each for each in small.latency}
    records = {name: timed.get(size) for name, size in RUNS.items()}
    return {
        "rise": small.loss,
        "units_before": sum(manifest.variants[0].units),
        "units_after": sum(small.units),
        "over_int8": {
            name: _median(None if each is None else each.over_int8)
            for name, each in records.items()
        },
        "over_original": {
            name: _median(None if each is None else each.over_original)
            for name, each in records.items()
        },
    }


def _median(ratio: Ratio | None) -> float | None:
    return None if ratio is None else ratio.median


def verdict_lines(report: Report) -> Iterator[str]:
    """The whole verdict, a line for each statement, also where it advises against the model."""
    found = report.conclusions
    if found is None:
        yield report.verdict
        return
    yield found.advice
    yield from (f"- {line}" for line in found.lines)


def continuation(path: Path, codec: TextCodec, prompt: str, count: int, seed: int) -> str:
    """A text with the tokens that a model adds, drawn from its own probabilities.

    Two models with nearly equal probabilities write the same words from one seed, and where their
    texts part, the models differ.

    Args:
        path: a scoring graph.
        codec: of its tokens.
        prompt: the beginning.
        count: how many tokens to add.
        seed: of the random numbers.
    """
    session, ids = LanguageSession(path), codec.encode(prompt)
    start = None if codec.start_id is None else beginning(session, codec.start_id)
    position, _ = read(session, ids, start)
    stream = TokenStream(position, Sampler(Sampling(TEMPERATURE), seed))
    return codec.decode([*ids, *(stream.draw(session).id for _ in range(count))])


def next_commands(home: Path, name: str) -> Iterator[str]:
    """How to open what the demo made, and the command for a model of one's own.

    Args:
        home: the folder in which service and worker keep their files.
        name: of the model.
    """
    program, page = command(), f"http://127.0.0.1:{ServiceSettings().port}/"
    yield f"ISS_HOME={home} {program} serve           # then open {page} in a browser"
    yield f"{program} models card {name}              # in a second terminal: the whole card"
    yield f'{program} score {name} "some text"        # by the original and the compressed model'
    yield (
        f"{program} compress model.pt --vocabulary words.txt --calibration train.txt "
        "--held-out valid.txt --name mine"
    )


def command() -> str:
    """The command line as this user has to type it: its path where it is not on the PATH."""
    if shutil.which("isslim") is not None:
        return "isslim"
    return os.path.relpath(Path(sys.executable).parent / "isslim")
