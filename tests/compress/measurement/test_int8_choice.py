"""Which int8 form is taken, by what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from isslim.compress.export.int8_forms import FORMS
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts, sample
from isslim.compress.measurement.int8_choice import choose_form, write_int8
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.types.manifest import TextContract
from isslim.types.recipe import Budget, Recipe

V = 40
WORDS = ["<eos>", "<unk>", *(f"w{number}" for number in range(V - 2))]


@pytest.mark.parametrize(
    ("costs", "taken"),
    [
        ([0.002, 0.001], 0),  # next to nothing: the fastest
        ([-0.01, 0.0], 0),
        ([0.004, 0.002, 0.001], 1),
        ([0.006, 0.005, 0.004], 0),  # about as good as the best
        ([0.012, 0.006, 0.004], 1),
        ([0.030, 0.019, 0.016], 1),  # the first would spend too much of the budget
        ([0.060, 0.050, 0.040], 2),  # all would: the one that costs least
        ([float("inf"), 0.004], 1),
    ],
)
def test_the_fastest_form_that_is_good_enough_is_taken(costs: list[float], taken: int) -> None:
    assert choose_form(enumerate(costs), 0.05, lambda each: each[1])[0] == taken


def test_no_form_is_tried_after_one_that_costs_nothing() -> None:
    def costs() -> Iterator[float]:
        yield 0.0
        raise AssertionError("a second form was tried")

    assert choose_form(costs(), 0.05, float) == 0.0


def task_of(network: LstmLanguageModel) -> LanguageTask:
    tokens = sample(
        network, 0, 1500, seed=1
    )  # its own text: of a strange one, less precision can be better
    contract = TextContract(
        unit="word", vocabulary=V, start_token="<eos>", unknown_token="<unk>", newline_token="<eos>"
    )
    codec = TextCodec(word_tokenizer(WORDS, "<unk>", "<eos>"), contract)
    texts = Texts(tokens, tokens, tokens, "the test's own", "the test's own")
    recipe = Recipe(budget=Budget(perplexity_rise=0.05))
    return LanguageTask(network, texts, recipe, codec, IngestReport("made by the test"))


def network(outlier: float | None) -> LstmLanguageModel:
    made = LstmLanguageModel(LstmSpec(V, 12, (16,))).eval()
    made.initialise(1.0, torch.Generator().manual_seed(0))
    if outlier is not None:
        with (
            torch.no_grad()
        ):  # a weight of the decoder that leaves no steps for the others of its matrix
            made.decoder.weight[7, :2] = outlier
            made.decoder.bias[7] = -1000.0
    return made


@pytest.mark.parametrize(("outlier", "products"), [(None, False), (150.0, True)])
def test_a_model_gets_the_form_that_it_needs(
    outlier: float | None, products: bool, tmp_path: Path
) -> None:
    made = network(outlier)
    task = task_of(made)
    task.export(made, tmp_path / "a.onnx")
    found = write_int8(task, made, tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert found.form in FORMS
    assert found.form is not None
    assert found.form.products == products
    assert found.eight_bit.parts == ["embedding", "recurrent layers", "softmax"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.onnx",
        "b.onnx",
    ]  # nothing of what was tried is left
    shapes = {
        each.name: tuple(each.dims) for each in onnx.load(tmp_path / "b.onnx").graph.initializer
    }
    assert shapes["decoder_turned_scale"] == ((V,) if products else ())
    assert task.quick_loss(tmp_path / "b.onnx") == pytest.approx(
        task.quick_loss(tmp_path / "a.onnx"), abs=0.02
    )


def test_weights_that_no_form_can_hold_leave_their_part_in_float32(tmp_path: Path) -> None:
    made = network(None)
    # In every column of the decoder one huge weight, alike for all tokens: no probability changes.
    with torch.no_grad():
        made.decoder.weight[:, 0] = 4000.0
    task = task_of(made)
    task.export(made, tmp_path / "a.onnx")
    found = write_int8(task, made, tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert found.form is not None
    assert found.form.kept == {"softmax"}
    assert found.eight_bit.rest == ["softmax"]
    kept = {each.name: each for each in onnx.load(tmp_path / "b.onnx").graph.initializer}["decoder"]
    assert numpy_helper.to_array(kept)[3, 0] == 4000.0
