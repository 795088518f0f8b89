"""The card as a stranger reads it: sizes by layer, the chosen point, words for names, and one picture for each link."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from client.show import comparison_table, models_table
from compress.card import write_card
from compress.measurement import verdict_of
from compress.tradeoff import curve_section, learning_sections
from store.bundles import BundleStore, OpenBundle
from store.manifest import EpochPoint, Manifest, VariantName, VariantRecord
from store.quality import SCALES
from store.recipe import Budget
from store.report import Report
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
    assert report.verdict[1:] in card[:600]
    assert "pruned = masked reference" in card
    original, compressed = bundle.manifest.variant("original"), bundle.manifest.variant("compressed")
    assert original is not None
    assert compressed is not None
    assert [part.width for part in original.parts[1:-1]] == [40, 32]
    for number, (old, new) in enumerate(zip(original.parts[1:-1], compressed.parts[1:-1], strict=True), start=1):
        less = f"{1 - new.width / old.width:.0%}"
        assert (
            f"| LSTM layer {number} | {old.width} | {new.width} | {less} | {old.parameters:,} | {new.parameters:,} |"
            in card
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


@pytest.mark.parametrize(
    ("instructions", "machine", "words"),
    [
        ([], "AMD EPYC (x86_64), 2 threads", "Measured on x86 without VNNI: int8 gains little in batches there"),
        (["avx512_vnni"], "x86_64, 2 threads", "multiplies 8-bit numbers fast (avx512_vnni)"),
        ([], "aarch64, 2 threads", "no instructions for 8-bit numbers"),
    ],
)
def test_latency_says_what_the_processor_does_for_int8(
    instructions: list[str], machine: str, words: str, bundle: OpenBundle, tmp_path: Path
) -> None:
    assert bundle.manifest.provenance.int8_instructions is not None
    origin = bundle.manifest.provenance.model_copy(update={"int8_instructions": instructions, "machine": machine})
    manifest = bundle.manifest.model_copy(update={"provenance": origin})
    assert words in rewritten(tmp_path, manifest, report_of(bundle))


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(size_ratio=0.4), "at most 40 % of the parameters"),
        (Budget(speedup=3.0), "at least 3 times as fast (float32, one text of 30 tokens, one thread)"),
    ],
)
def test_budget_is_told_in_words(budget: Budget, words: str, bundle: OpenBundle, tmp_path: Path) -> None:
    recipe = bundle.manifest.recipe.model_copy(update={"budget": budget})
    card = rewritten(tmp_path, bundle.manifest.model_copy(update={"recipe": recipe}), report_of(bundle))
    assert f"asked for: {words}" in card


def test_learning_is_told_in_the_terms_of_its_task(bundle: OpenBundle) -> None:
    point = EpochPoint(
        round=1, seconds=3.0, steps=20, units={"units:lstm0": 9}, training_value=3.4, held_out_value=52.7
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
        recipe = bundle.manifest.recipe.model_copy(update={"mode": "learn" if learnt else "calibrate"})
        manifest = bundle.manifest.model_copy(update={"recipe": recipe})
        assert words in curve_section(manifest, report)


def timed(variants: list[VariantRecord], name: VariantName, low: float, median: float, high: float) -> VariantRecord:
    variant = next(each for each in variants if each.name == name)
    record = variant.sentence.model_copy(update={"speedup_low": low, "speedup": median, "speedup_high": high})
    return variant.model_copy(update={"latency": [record]})


@pytest.mark.parametrize(("loss", "cell"), [(0.58, "-0.58"), (-0.58, "+0.58")])
def test_a_readers_f1_is_shown_by_the_way_it_went(loss: float, cell: str, bundle: OpenBundle, tmp_path: Path) -> None:
    variants = [
        each.model_copy(update={"loss": loss if each.name == "compressed" else 0.0, "metrics": {"f1": 70.0}})
        for each in bundle.manifest.variants
    ]
    reader = bundle.manifest.model_copy(update={"task": "question-answering", "metric": "f1", "variants": variants})
    report = report_of(bundle)
    report = report.model_copy(update={"curve": [each.model_copy(update={"loss": loss}) for each in report.curve]})
    card = rewritten(tmp_path, reader, report)
    (row,) = (line for line in card.splitlines() if line.startswith("| `compressed` |") and " MB " in line)
    assert f"| 70.00 | {cell} |" in row
    assert card.count("| F1 | change of F1 |") == 2
    assert f"| **{cell}** |" in curve_section(reader, report)
    assert "fall of F1 |" not in card

    def shown(table: Table) -> str:
        terminal = Console(width=300, record=True, file=io.StringIO())
        terminal.print(table)
        return terminal.export_text()

    assert f"70.00 ({cell})" in shown(comparison_table(reader))
    listed = {
        "name": "one", "id": "1", "issues": [], "task": reader.task, "metric": "f1",
        "variants": [each.model_dump() for each in variants],
    }  # fmt: skip
    assert f"F1 70.00 ({cell})" in shown(models_table([listed]))


def test_verdict_speaks_of_the_smaller_file_where_the_clock_cannot_tell(bundle: OpenBundle) -> None:
    both = bundle.manifest.variants
    plain = [timed(both, "original", 1, 1, 1), timed(both, "original-int8", 1, 1.1, 1.2)]
    fast = timed(both, "compressed", 2.9, 3.0, 3.1)
    overlapping, slower = (timed(both, "compressed-int8", low, low + 0.1, low + 0.2) for low in (2.75, 2.5))
    assert verdict_of([*plain, fast, overlapping], SCALES["perplexity"], "one text").startswith(
        "compressed-int8 is 2.9x"
    )
    assert verdict_of([*plain, fast, slower], SCALES["perplexity"], "one text").startswith("compressed is 3.0x")


def test_verdict_never_calls_a_model_fast_that_is_not(bundle: OpenBundle) -> None:
    both = bundle.manifest.variants
    plain = [timed(both, "original", 1, 1, 1), timed(both, "original-int8", 1.05, 1.08, 1.1)]
    for low, median, high, told in ((0.93, 0.95, 0.97, "0.95x"), (0.98, 1.01, 1.03, "1.01x")):
        verdict = verdict_of([*plain, timed(both, "compressed", low, median, high)], SCALES["perplexity"], "one text")
        start = f"not worth pruning for speed: compressed is no faster than the original ({told}; one text, one thread) and "
        assert verdict.startswith(start)
        assert "int8 alone gives 1.08x" in verdict
    little = verdict_of([*plain, timed(both, "compressed", 1.24, 1.26, 1.28)], SCALES["perplexity"], "one text")
    assert "compressed is 1.26x as fast as the original" in little
