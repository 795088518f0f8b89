"""Which int8 form is taken, by what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from isslim.compress.export.int8_forms import FORMS
from isslim.compress.ingest.reading import IngestReport
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.task import LanguageTask
from isslim.compress.kinds.language.texts import Texts, sample
from isslim.compress.measurement.int8_choice import choose_form, write_int8
from isslim.compress.measurement.scans import TRIES
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec, word_tokenizer
from isslim.runtime.latency import time_in_turn
from isslim.runtime.opening import devices
from isslim.runtime.shape import Shape, usual_size
from isslim.types.manifest import LatencyRecord, TextContract
from isslim.types.recipe import Budget, Recipe
from tests.runtime.made_up_time import MadeUpTime, in_turn

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


class TimedByHand(LanguageTask):
    """A language model whose runs take as many units of made-up time as a test says, in turn.

    Attributes:
        operator, scan: of the runs of the graph with the operator, and of that with the Scan.
        compared: the shapes at which they were compared.
    """

    operator: tuple[float, ...] = (8,)
    scan: tuple[float, ...] = (8,)

    def compare(
        self, paths: Mapping[str, Path], shape: Shape, pairs: int | None = None
    ) -> dict[str, LatencyRecord]:
        self.compared = [*getattr(self, "compared", []), shape]
        held = {
            name: {each.op_type for each in onnx.load(path).graph.node}
            for name, path in paths.items()
        }
        assert {name: "Scan" in operators for name, operators in held.items()} == {
            "original": False,
            "scans": True,
        }
        time = MadeUpTime()
        runs = {
            "original": in_turn(time, self.operator),
            "scans": in_turn(time, self.scan),
        }
        sessions = {name: LanguageSession(path) for name, path in paths.items()}
        return time_in_turn(runs, sessions, usual_size(shape), pairs=pairs, time=time)


def task_of(network: LanguageModel, kind: type[LanguageTask] = LanguageTask) -> LanguageTask:
    tokens = sample(
        network, 0, 1500, seed=1
    )  # its own text: of a strange one, less precision can be better
    contract = TextContract(
        unit="word", vocabulary=V, start_token="<eos>", unknown_token="<unk>", newline_token="<eos>"
    )
    codec = TextCodec(word_tokenizer(WORDS, "<unk>", "<eos>"), contract)
    texts = Texts(tokens, tokens, tokens, "the test's own", "the test's own")
    recipe = Recipe(budget=Budget(perplexity_rise=0.05))
    return kind(network, texts, recipe, codec, IngestReport("made by the test"))


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
    found = write_int8(task, made, *[tmp_path / f"{each}.onnx" for each in "aba"])
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
    found = write_int8(task, made, *[tmp_path / f"{each}.onnx" for each in "aba"])
    assert found.form is not None
    assert found.form.kept == {"softmax"}
    assert found.eight_bit.rest == ["softmax"]
    kept = {each.name: each for each in onnx.load(tmp_path / "b.onnx").graph.initializer}["decoder"]
    assert numpy_helper.to_array(kept)[3, 0] == 4000.0


@pytest.mark.parametrize(
    ("operator", "scan", "taken"),
    [
        ((16,), (8,), True),
        ((8,), (8,), False),  # no faster: the operator stays
        ((8,), (16,), False),
        ((16, 17, 18), (15.5,), True),
        ((16, 17, 18), (16.5,), False),  # not surely
        ((64,), (8, 56), False),  # faster in every round, and by how much nobody knows
    ],
)
def test_a_gru_is_a_scan_only_where_the_clock_finds_it_faster(
    operator: tuple[float, ...], scan: tuple[float, ...], taken: bool, tmp_path: Path
) -> None:
    made = GruLanguageModel(GruSpec(V, 12, (16, 16))).eval()
    made.initialise(1.0, torch.Generator().manual_seed(0))
    task = task_of(made, TimedByHand)
    assert isinstance(task, TimedByHand)
    task.operator, task.scan = operator, scan
    task.export(made, tmp_path / "a.onnx")
    found = write_int8(task, made, *[tmp_path / f"{each}.onnx" for each in "aba"])
    # Once, whatever forms are tried, and again where it is not steady.
    assert task.compared == [task.primary_shape] * (TRIES if scan == (8, 56) else 1)
    layers = ["recurrent layers"]
    assert found.eight_bit.parts == ["embedding", *(layers if taken else []), "softmax"]
    assert found.eight_bit.rest == ([] if taken else layers)
    assert found.description is not None
    assert ("; recurrent layers as int8 Scan" in found.description) == taken
    operators = [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]
    assert (operators.count("GRU"), operators.count("Scan")) == ((0, 2) if taken else (2, 0))
    assert task.quick_loss(tmp_path / "b.onnx") == pytest.approx(
        task.quick_loss(tmp_path / "a.onnx"), abs=0.02
    )


def test_without_a_gru_nothing_is_timed(tmp_path: Path) -> None:
    made = network(None)
    task = task_of(made, TimedByHand)
    task.export(made, tmp_path / "a.onnx")
    write_int8(task, made, *[tmp_path / f"{each}.onnx" for each in "aba"])
    assert not hasattr(task, "compared")


@pytest.mark.parametrize(("scan", "taken"), [((8,), True), ((16,), False), ((24,), False)])
def test_a_narrow_recurrence_is_multiplied_out_where_a_scan_is_slower(
    scan: tuple[float, ...], taken: bool, tmp_path: Path
) -> None:
    made = LstmLanguageModel(LstmSpec(V, 12, (16, 16), recurrent_ranks=(4, 0))).eval()
    made.initialise(1.0, torch.Generator().manual_seed(0))
    task = task_of(made, TimedByHand)
    assert isinstance(task, TimedByHand)
    task.operator, task.scan = (16,), scan
    task.export(made, tmp_path / "a.onnx")
    found = write_int8(task, made, *[tmp_path / f"{each}.onnx" for each in "aba"])
    assert found.eight_bit.parts == ["embedding", "recurrent layers", "softmax"]
    operators = [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]
    assert operators.count("DynamicQuantizeLSTM") == (1 if taken else 2)
    assert operators.count("Scan") == (1 if taken else 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.skipif("cuda" in devices(), reason="for a GPU there is one float32 form")
@pytest.mark.parametrize(
    ("operator", "scan", "taken"),
    [((16,), (8,), True), ((16,), (16,), False), ((16,), (24,), False), ((64,), (8, 56), False)],
)
def test_in_float32_too_a_narrow_recurrence_is_multiplied_out_where_a_scan_is_slower(
    operator: tuple[float, ...], scan: tuple[float, ...], taken: bool, tmp_path: Path
) -> None:
    made = LstmLanguageModel(LstmSpec(V, 12, (16, 16), recurrent_ranks=(4, 0))).eval()
    made.initialise(1.0, torch.Generator().manual_seed(0))
    task = task_of(made, TimedByHand)
    assert isinstance(task, TimedByHand)
    task.operator, task.scan = operator, scan
    task.export(made, tmp_path / "a.onnx")
    assert task.compared == [task.primary_shape] * (TRIES if scan == (8, 56) else 1)
    operators = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert (operators.count("LSTM"), operators.count("Scan")) == ((1, 1) if taken else (2, 0))
    task.verify_export(tmp_path / "a.onnx", made, "compressed")
    assert [each.name for each in tmp_path.iterdir()] == ["a.onnx"]


def test_for_a_gpu_a_narrow_recurrence_is_multiplied_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: there)
    made = LstmLanguageModel(LstmSpec(V, 12, (16,), recurrent_ranks=(4,))).eval()
    task = task_of(made, TimedByHand)
    task.export(made, tmp_path / "a.onnx")
    assert not hasattr(task, "compared")
    operators = {node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node}
    assert "LSTM" in operators
    assert "Scan" not in operators
