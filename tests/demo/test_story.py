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
from isslim.types.manifest import VariantRecord
from isslim.types.report import Report
from tests.card.made_up import manifest
from tests.conftest import Published


@pytest.fixture
def bundle(published: Published) -> OpenBundle:
    return BundleStore(published.settings).open(published.bundle_id)


@pytest.fixture
def report(bundle: OpenBundle) -> Report:
    return Report.model_validate_json(bundle.path("report.json").read_text())


def compressed_of(bundle: OpenBundle) -> VariantRecord:
    small = bundle.manifest.variant("compressed")
    assert small is not None
    return small


def test_a_bar_for_each_layer_shows_kept_and_removed_units(
    bundle: OpenBundle,
) -> None:
    small = compressed_of(bundle)
    *lines, parameters, work = story.removal_lines(bundle.manifest, small)
    # Whether there are narrow layers too, the clock has decided.
    bars = [line for line in lines if line.endswith("units kept")]
    assert all(line.endswith(("units kept", "directions")) for line in lines)
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
    assert lines[0] == "no layer lost a unit, and none is read through fewer directions"
    assert all("(0% removed)" in line for line in lines[1:])


def test_narrow_layers_are_drawn_by_the_directions_that_they_pass_on() -> None:
    made = manifest()
    lines = list(story.removal_lines(made, made.variants[-1]))
    assert [line.split("  ")[-1].strip() for line in lines[:-2]] == [
        "60 of 200 units kept",
        "250 of 256 units kept",
        "read through 70 of 256 directions",
        "read through 40 of 256 directions",
        "read through 90 of 256 directions",
    ]
    assert lines[2].startswith("input of LSTM layer 2 ")
    assert lines[3].count(story.KEPT) == round(story.WIDTH * 40 / 256)


def test_summary_has_the_figures_of_the_manifest() -> None:
    made = manifest()
    assert story.summary(made, made.variants[-1]) == {
        "rise": 0.019,
        "units_before": 512,
        "units_after": 506,
        "over_int8": {"sentence": 2.0, "step": 3.9 / 2.1, "batch": 2.0},
        "over_original": {"sentence": 5.4, "step": 3.9, "batch": 6.0},
    }
    unsteady = manifest(steady=False)
    nothing = {"sentence": None, "step": None, "batch": None}
    found = story.summary(unsteady, unsteady.variants[-1])
    assert (found["over_int8"], found["over_original"]) == (nothing, nothing)
    few = made.variants[-1].model_copy(update={"latency": made.variants[-1].latency[1:2]})
    assert story.summary(made, few)["over_int8"] == {"sentence": 2.0, "step": None, "batch": None}


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
        *(f"- {each}" for each in found.further),
        f"- {found.size}",
        f"- {found.quality}",
        *([f"- {found.sizes}"] if found.sizes else []),
        *(f"- {each}" for each in (*found.instead, *found.reservations)),
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
    monkeypatch.setenv("ISS_PORT", "8123")
    lines = list(story.next_commands(Path("demo/home"), "demo"))
    assert "open http://127.0.0.1:8123/ in a browser" in lines[0]
    assert lines[0].startswith(f"ISS_HOME=demo/home {program} serve ")
    known = typer.main.get_command(app)
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if "=" not in word]
        assert words[0] == program
        assert words[1] in known.commands  # type: ignore[attr-defined]
