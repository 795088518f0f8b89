"""What the demo shows of a bundle: true to its figures, the same again, honest without a gain."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
import typer.main

from isslim.client.cli import app
from isslim.demo import story
from isslim.runtime.language.text import TextCodec
from isslim.store.bundles import BundleStore, OpenBundle
from isslim.types.report import Report
from tests.conftest import Published


@pytest.fixture
def bundle(published: Published) -> OpenBundle:
    return BundleStore(published.settings).open(published.bundle_id)


@pytest.fixture
def report(bundle: OpenBundle) -> Report:
    return Report.model_validate_json(bundle.path("report.json").read_text())


def test_a_bar_for_each_layer_shows_kept_and_removed_units(
    bundle: OpenBundle, report: Report
) -> None:
    small = story.recommended(bundle.manifest, report)
    *bars, parameters, work = story.removal_lines(bundle.manifest, small)
    widths = {
        part.name: (part.width, new.width)
        for part, new in zip(bundle.manifest.variants[0].parts, small.parts, strict=True)
        if new.width < part.width
    }
    assert len(bars) == len(widths) > 1
    widest = max(old for old, _ in widths.values())
    for bar, (name, (old, new)) in zip(bars, widths.items(), strict=True):
        assert bar.startswith(name)
        assert bar.endswith(f"{new} of {old} units kept")
        kept, removed = bar.count(story.KEPT), bar.count(story.REMOVED)
        assert kept + removed == round(story.WIDTH * old / widest)
        assert kept / (kept + removed) == pytest.approx(new / old, abs=0.5 / (kept + removed))
    original = bundle.manifest.variants[0]
    assert f"{original.parameters:,} -> {small.parameters:,} (" in parameters
    assert f"({1 - small.mult_adds / original.mult_adds:.0%} removed)" in work


def test_a_model_that_lost_nothing_is_not_drawn_as_smaller(bundle: OpenBundle) -> None:
    lines = list(story.removal_lines(bundle.manifest, bundle.manifest.variants[0]))
    assert lines[0] == "no layer lost a unit"
    assert all("(0% removed)" in line for line in lines[1:])


def test_models_continue_a_text_by_the_same_random_numbers(bundle: OpenBundle) -> None:
    codec = TextCodec.from_folder(bundle.folder, bundle.manifest.contract)

    def text(file: str, seed: int = 1) -> str:
        return story.continuation(bundle.path(file), codec, "the old man", 12, seed)

    original = text("original.onnx")
    assert original.startswith("the old man ")
    assert len(codec.encode(original)) == 3 + 12
    assert text("original.onnx") == original
    assert len({text("original.onnx", seed) for seed in range(4)}) > 1
    # Int8 of the original changes its probabilities hardly, and so not the words that are drawn.
    assert text("original-int8.onnx") == original


def test_verdict_is_whole_also_where_nothing_was_gained(report: Report) -> None:
    found = report.conclusions
    assert found is not None
    assert list(story.verdict_lines(report)) == [
        found.advice,
        f"- {found.speed}",
        f"- {found.size}",
        f"- {found.quality}",
        *(f"- {each}" for each in found.reservations),
    ]
    nothing = found.model_copy(
        update={"advice": "Not worth pruning.", "speed": "", "size": "", "quality": ""}
    )
    poor = report.model_copy(update={"conclusions": nothing})
    assert next(iter(story.verdict_lines(poor))) == "Not worth pruning."
    earlier = report.model_copy(update={"conclusions": None})
    assert list(story.verdict_lines(earlier)) == [report.verdict]


def test_next_commands_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    program = story.command()
    assert Path(program).resolve().name == "isslim"
    assert Path(program).exists()
    lines = list(story.next_commands(Path("demo/home"), "demo"))
    assert lines[0].startswith(f"ISS_HOME=demo/home {program} serve ")
    known = typer.main.get_command(app)
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if "=" not in word]
        assert words[0] == program
        assert words[1] in known.commands  # type: ignore[attr-defined]
