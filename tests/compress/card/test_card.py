"""The card as its readers see it: sizes by layer, the chosen point, and a picture per link."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from isslim.card.curve_section import curve_section, learning_sections
from isslim.card.head import without_head
from isslim.client.show import comparison_table, models_table
from isslim.compress.card.card import write_card
from isslim.compress.card.tradeoff import BASELINE, COMPRESSED, ORIGINAL, Box, arranged
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.types.manifest import EpochPoint, Manifest
from isslim.types.quality import metric_format_of
from isslim.types.recipe import Budget
from isslim.types.report import Report
from isslim.types.schemas.figures import variant_views
from isslim.types.schemas.models import ModelSummary
from tests.conftest import Published


@pytest.fixture
def bundle(published: Published) -> OpenBundle:
    return BundleStore(published.settings).open(published.bundle_id)


def report_of(bundle: OpenBundle) -> Report:
    return Report.model_validate_json(bundle.path("report.json").read_text())


def rewritten(folder: Path, manifest: Manifest, report: Report) -> str:
    write_card(folder, manifest, report)
    return (folder / "README.md").read_text()


def test_card_tells_verdict_proof_and_sizes_of_every_layer(bundle: OpenBundle) -> None:
    card, report = bundle.path("README.md").read_text(), report_of(bundle)
    told = report.conclusions
    assert told is not None
    assert report.verdict == told.text
    lines = [told.speed, *told.further, told.size, told.quality]
    assert told.lines[: len(lines)] == lines
    told_lines = "\n- ".join(told.lines)
    assert without_head(card).startswith(
        f"# {bundle.manifest.name}\n\n**{told.advice}**\n\n- {told_lines}\n"
    )
    assert "pruned = masked reference" in card
    original, compressed = (
        bundle.manifest.variant("original"),
        bundle.manifest.variant("compressed"),
    )
    assert original is not None
    assert compressed is not None
    assert [part.width for part in original.parts[1:-1]] == [40, 32]
    for number, (old, new) in enumerate(
        zip(original.parts[1:-1], compressed.parts[1:-1], strict=True), start=1
    ):
        less = f"{1 - new.width / old.width:.0%}"
        assert (
            f"| LSTM layer {number} | {old.width} | {new.width} | {less} | {old.parameters:,} | "
            f"{new.parameters:,} |" in card
        )
        assert f"| LSTM layer {number} | {old.mult_adds:,} |" in card
    assert f"| embedding | 24 | {compressed.embedding} |" in card
    assert "work, not time" in card


def test_card_has_no_raw_names_and_a_picture_behind_each_link(bundle: OpenBundle) -> None:
    card = bundle.path("README.md").read_text()
    for raw in ("perplexity_rise", "units:", " 1 threads", "size_ratio"):
        assert raw not in card
    assert "a rise of perplexity by at most 10 %" in card
    links = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card)
    assert links == ["variants.svg", "curve.svg"]
    assert all(bundle.path(link).read_text().startswith("<?xml") for link in links)


def test_pictures_have_words_and_a_colour_has_one_meaning(bundle: OpenBundle) -> None:
    card, report = bundle.path("README.md").read_text(), report_of(bundle)
    bars, curve = re.findall(r"!\[([^]]*)\]", card)
    for variant in bundle.manifest.variants:
        value = f"{variant.metrics['perplexity']:.2f}"
        assert re.search(rf"{variant.name} [\d.]+ ms, [\d.]+ kB, {value}", bars)
    (chosen,) = [point for point in report.curve if point.chosen]
    assert f"{chosen.removed_share:.0%} removed" in curve
    assert curve.count("removed") == len(report.curve)
    used = {
        name: set(re.findall(r"#[0-9a-f]{6}", bundle.path(f"{name}.svg").read_text()))
        for name in ("variants", "curve")
    }
    assert {ORIGINAL, COMPRESSED} <= used["variants"] & used["curve"]
    # What takes 8 bits is not on the curve, so nothing there has its colours.
    assert "#8ec3e6" in used["variants"] - used["curve"]


def test_chosen_point_is_marked_and_its_two_perplexities_explained(bundle: OpenBundle) -> None:
    card, report = bundle.path("README.md").read_text(), report_of(bundle)
    compressed = bundle.manifest.variant("compressed")
    assert compressed is not None
    (chosen,) = [point for point in report.curve if point.chosen]
    assert chosen.units == compressed.units
    assert f"| **{chosen.removed_share:.0%} (chosen)** | **{chosen.embedding}** |" in card
    published = compressed.metrics["perplexity"]
    assert f"the chosen model has {chosen.value:.2f} here and {published:.2f} there" in card
    assert "*Removed* is the share of" in card
    assert "chosen" in bundle.path("curve.svg").read_text()
    outside = [each.model_copy(update={"within_budget": False}) for each in report.curve]
    section = curve_section(bundle.manifest, report.model_copy(update={"curve": outside}))
    assert (
        "It lies outside the budget here and inside it there, and what is measured there counts."
        in section
    )
    assert "distillation wins some back" not in section  # there was none


def test_picture_of_the_trade_off_holds_its_figures_as_text(bundle: OpenBundle) -> None:
    """Every variant with its ratios, the budget, and words for those who do not see it."""
    picture = bundle.path("variants.svg").read_text()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    assert BASELINE in texts
    assert "the budget: 10" in texts
    assert "rise of perplexity (%)" in texts
    original = bundle.manifest.variants[0]
    for variant in bundle.manifest.variants[1:]:
        smaller = f"{original.size_bytes / variant.size_bytes:.1f}x smaller"
        loss = metric_format_of("perplexity").change(variant.loss)
        assert any(smaller in each and loss in each for each in texts), variant.name
    for name, what in (("variants", "time"), ("curve", "parameters")):
        found = bundle.path(f"{name}.svg").read_text()
        assert re.search(rf"<title>{bundle.manifest.name}: [^<]* against {what}</title>", found)
        assert f"<desc>{report_of(bundle).verdict}</desc>" in found
        # Transparent: it is shown on light pages and on dark ones.
        assert "#ffffff" not in found


def test_labels_cover_neither_each_other_nor_a_dot() -> None:
    inner = Box(0, 0, 460, 300)
    dots = [(40.0, 20.0), (60.0, 22.0), (70.0, 24.0), (440.0, 20.0)]
    widths = [120.0, 150.0, 90.0, 80.0]
    boxes = []
    for (x, _), width, (left, middle) in zip(
        dots, widths, arranged(dots, widths, inner), strict=True
    ):
        far = left + width if left > x else left - width
        boxes.append(Box(min(left, far), middle - 13, max(left, far), middle + 13))
    assert all(inner.holds(each) for each in boxes)
    around = [Box(x - 12, y - 12, x + 12, y + 12) for x, y in dots]
    for at, each in enumerate(boxes):
        assert not any(each.meets(other) for other in (*boxes[:at], *around))


@pytest.mark.parametrize(
    ("instructions", "machine", "words"),
    [
        (
            [],
            "AMD EPYC (x86_64), 2 threads",
            "Measured on x86 without VNNI: int8 gains little in batches there",
        ),
        (["avx512_vnni"], "x86_64, 2 threads", "multiplies 8-bit numbers fast (avx512_vnni)"),
        ([], "aarch64, 2 threads", "no instructions for 8-bit numbers"),
    ],
)
def test_latency_says_what_the_processor_does_for_int8(
    instructions: list[str], machine: str, words: str, bundle: OpenBundle, tmp_path: Path
) -> None:
    assert bundle.manifest.provenance.int8_instructions is not None
    origin = bundle.manifest.provenance.model_copy(
        update={"int8_instructions": instructions, "machine": machine}
    )
    manifest = bundle.manifest.model_copy(update={"provenance": origin})
    assert words in rewritten(tmp_path, manifest, report_of(bundle))


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(size_ratio=0.4), "at most 40 % of the parameters"),
        (
            Budget(speedup=3.0),
            "at least 3 times as fast (float32, one text of 30 tokens, one thread)",
        ),
    ],
)
def test_budget_is_told_in_words(
    budget: Budget, words: str, bundle: OpenBundle, tmp_path: Path
) -> None:
    recipe = bundle.manifest.recipe.model_copy(update={"budget": budget})
    card = rewritten(
        tmp_path, bundle.manifest.model_copy(update={"recipe": recipe}), report_of(bundle)
    )
    assert f"requested: {words}" in card


def test_learning_is_told_in_the_terms_of_its_task(bundle: OpenBundle) -> None:
    point = EpochPoint(
        round=1,
        seconds=3.0,
        steps=20,
        units={"units:lstm0": 9},
        training_value=3.4,
        held_out_value=52.7,
    )
    report = report_of(bundle).model_copy(update={"epochs": [point]})
    (text,) = learning_sections(bundle.manifest, report)
    assert "| training perplexity | held-out perplexity |" in text
    reader = bundle.manifest.model_copy(update={"task": "question-answering", "metric": "f1"})
    (answers,) = learning_sections(reader, report)
    assert "| training loss in nats | held-out F1 |" in answers
    assert "perplexity" not in answers
    for learnt, words in (
        (True, "quick estimate, after its round of learning:"),
        (False, "quick estimate, before any"),
    ):
        recipe = bundle.manifest.recipe.model_copy(
            update={"mode": "learn" if learnt else "calibrate"}
        )
        manifest = bundle.manifest.model_copy(update={"recipe": recipe})
        assert words in curve_section(manifest, report)


@pytest.mark.parametrize(("loss", "cell"), [(0.58, "-0.58"), (-0.58, "+0.58")])
def test_a_readers_f1_is_shown_by_the_way_it_went(
    loss: float, cell: str, bundle: OpenBundle, tmp_path: Path
) -> None:
    variants = [
        each.model_copy(
            update={"loss": loss if each.name == "compressed" else 0.0, "metrics": {"f1": 70.0}}
        )
        for each in bundle.manifest.variants
    ]
    reader = bundle.manifest.model_copy(
        update={"task": "question-answering", "metric": "f1", "variants": variants}
    )
    report = report_of(bundle)
    report = report.model_copy(
        update={"curve": [each.model_copy(update={"loss": loss}) for each in report.curve]}
    )
    card = rewritten(tmp_path, reader, report)
    (row,) = (
        line for line in card.splitlines() if line.startswith("| `compressed` |") and " MB " in line
    )
    assert f"| 70.00 | {cell} |" in row
    assert card.count("| F1 | change of F1 | 95 % interval, ") == 2
    assert f"| **{cell}** |" in curve_section(reader, report)
    assert "fall of F1 |" not in card

    def shown(table: Table) -> str:
        terminal = Console(width=300, record=True, file=io.StringIO())
        terminal.print(table)
        return terminal.export_text()

    assert f"70.00 ({cell})" in shown(comparison_table(reader))
    listed = {
        "name": "one",
        "id": "1",
        "issues": [],
        "task": reader.task,
        "metric": "f1",
        "variants": variant_views(reader),
    }
    assert f"F1 70.00 ({cell})" in shown(
        models_table([ModelSummary.model_validate({**listed, "created_at": None})])
    )


def test_every_loss_stands_with_its_interval_and_sample(bundle: OpenBundle, tmp_path: Path) -> None:
    scale, card, report = (
        metric_format_of("perplexity"),
        bundle.path("README.md").read_text(),
        report_of(bundle),
    )
    original, *others = bundle.manifest.variants
    assert original.estimate is None
    for variant in others:
        found = variant.estimate
        assert found is not None
        assert found.low <= variant.loss <= found.high
        assert (
            f"| {scale.change(variant.loss)} | {scale.interval(found)}, {found.count:,} tokens |"
            in card
        )
    judged = report.curve[0].estimate
    assert judged is not None
    assert (
        f"| perplexity | change of perplexity | 95 % interval, {judged.count:,} tokens | within "
        "budget |" in card
    )
    assert scale.interval(judged) in card
    assert "a bootstrap over blocks of the text" in card

    def shown(table: Table) -> str:
        terminal = Console(width=300, record=True, file=io.StringIO())
        terminal.print(table)
        return terminal.export_text()

    listed = {
        "name": "one",
        "id": "1",
        "issues": [],
        "task": "language-model",
        "metric": "perplexity",
        "variants": variant_views(bundle.manifest),
    }
    for table in (
        comparison_table(bundle.manifest),
        models_table([ModelSummary.model_validate({**listed, "created_at": None})]),
    ):
        assert scale.sample(others[-1].estimate) in shown(table)  # type: ignore[arg-type]


def test_card_says_of_which_clock_its_figures_are(bundle: OpenBundle, tmp_path: Path) -> None:
    def card(**change: object) -> str:
        variants = [
            each.model_copy(
                update={"latency": [one.model_copy(update=change) for one in each.latency]}
            )
            for each in bundle.manifest.variants
        ]
        return rewritten(
            tmp_path, bundle.manifest.model_copy(update={"variants": variants}), report_of(bundle)
        )

    quiet = {
        "steady": True,
        "basis": "wall",
        "speedup": 2.0,
        "speedup_low": 1.9,
        "speedup_high": 2.1,
    }
    plain, busy = card(**quiet), card(**quiet | {"basis": "cpu", "cpu_ms": 0.375})
    unsteady = card(**quiet | {"steady": False})
    assert "2.00x (1.90 to 2.10)" in plain
    assert "CPU time" not in plain
    assert "ratios there compare CPU time" in busy
    assert "| 0.375 |" in busy
    assert re.search(r"\| 0\.38 ms \| [^|]+ \| 2\.00x", busy)
    assert "2.00x" not in unsteady
    assert "*Not steady*" in unsteady


def test_card_names_the_int8_form_and_what_stays_float32(
    bundle: OpenBundle, tmp_path: Path
) -> None:
    manifest, report = bundle.manifest, report_of(bundle)
    forms = {each.name: each.int8_form for each in manifest.variants}
    assert forms["original"] is None
    assert forms["original-int8"] is not None
    card = bundle.path("README.md").read_text()
    assert f"take 8 bits: {forms['original-int8'].removeprefix('8 bits, ')}." in card
    assert "stay float32" not in card  # of this model everything takes 8 bits
    told = {
        "eight_bit": ["2 of 3 recurrent layers"],
        "float32": ["the other recurrent layers"],
        "int8_form": "a form",
    }
    variants = [
        each.model_copy(update=told if each.name == "original-int8" else {})
        for each in manifest.variants
    ]
    card = rewritten(tmp_path, manifest.model_copy(update={"variants": variants}), report)
    assert (
        "In `original-int8` the weights of 2 of 3 recurrent layers take 8 bits; the other "
        "recurrent layers stay float32: a form." in card
    )
