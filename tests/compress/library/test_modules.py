"""Modules of a user's own through `isslim.compress`, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import isslim
import isslim.torch
from isslim.compress.errors import ModuleNotCut
from isslim.compress.library.compressed import Compressed
from isslim.store.folders import open_folder
from isslim.torch import WeightsRefused
from tests.compress.library import models

SIZE = {"limit": "size", "value": 0.7}


@dataclass(frozen=True)
class Case:
    """A module with its calls."""

    make: Callable[[], nn.Module]
    calls: Callable[[int, int], list[Any]]
    loss: Callable[[Any, Any], Tensor]


CASES = {
    "tagger of packed sentences": Case(models.Tagger, models.sentences, models.tagging_loss),
    "CRNN": Case(models.Crnn, models.images, models.image_loss),
}


@dataclass(frozen=True)
class Done:
    """A module and what was made of it."""

    case: Case
    original: nn.Module
    small: Compressed


@pytest.fixture(scope="module", params=list(CASES))
def done(request: pytest.FixtureRequest) -> Done:
    case = CASES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = models.trained(case.make(), case.calls(20, 1), case.loss)
    small = isslim.compress(original, case.calls(15, 2), held_out=case.calls(5, 3), budget=SIZE)
    return Done(case, original, small)


def test_module_of_its_own_class_comes_back_smaller(done: Done) -> None:
    module = done.small.module
    assert type(module) is type(done.original)
    assert not any(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    small, whole = (sum(p.numel() for p in each.parameters()) for each in (module, done.original))
    assert done.small.variants["original"].parameters == whole
    assert small <= done.small.variants["compressed"].parameters <= 0.7 * whole


def test_module_equals_its_graph(done: Done, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(done.small.to_onnx(tmp_path / "small.onnx")))
    names = [port.name for port in session.get_inputs()]
    for call in done.case.calls(4, 4):
        (found,) = session.run(None, dict(zip(names, map(np.asarray, call), strict=True)))
        with torch.no_grad():
            expected = done.small.module(*call)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_module_trains_further(done: Done) -> None:
    calls = done.case.calls(20, 1)
    before = models.epoch(done.small.module, calls, done.case.loss)
    assert models.mean_loss(done.small.module, calls, done.case.loss) < before


def test_saved_module_is_loaded_in_its_class(done: Done, tmp_path: Path) -> None:
    saved = done.small.save(tmp_path / "saved")
    assert open_folder(saved).manifest == done.small.manifest
    whole = done.case.make()
    found = isslim.torch.load(saved, model=whole)
    assert type(found) is type(done.original)
    assert not found.training
    shapes = {name: each.shape for name, each in done.small.module.named_parameters()}
    assert {name: each.shape for name, each in found.named_parameters()} == shapes
    session = onnxruntime.InferenceSession(saved / "compressed.onnx")
    names = [port.name for port in session.get_inputs()]
    for call in done.case.calls(3, 4):
        (expected,) = session.run(None, dict(zip(names, map(np.asarray, call), strict=True)))
        with torch.no_grad():
            np.testing.assert_allclose(found(*call).numpy(), expected, atol=1e-4)
    # The small module is a model of its class too: built with the small numbers it fits as well.
    again = isslim.torch.load(saved, model=found)
    assert torch.equal(again.scores.weight, found.scores.weight)
    assert whole.scores.weight.shape == done.original.scores.weight.shape  # type: ignore[union-attr]
    assert 'isslim.torch.load(".", model=' in done.small.card()
    assert "# scores: nn.Linear(" in done.small.card()


def test_weights_of_another_class_are_refused(done: Done, tmp_path: Path) -> None:
    saved = done.small.save(tmp_path / "saved")
    with pytest.raises(WeightsRefused, match=r"give an object of it, `isslim.torch.load\("):
        isslim.torch.load(saved)
    with pytest.raises(WeightsRefused, match=r"an object of the class .* is expected"):
        isslim.torch.load(saved, model=type(done.original))  # type: ignore[arg-type]
    with pytest.raises(WeightsRefused, match=r"does not fit a LSTM: 'weight_ih_l0' is missing"):
        isslim.torch.load(saved, model=nn.LSTM(3, 4))
    weights = saved / "module.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    with pytest.raises(WeightsRefused, match="its SHA-256 differs"):
        isslim.torch.load(saved, model=done.case.make())
    with pytest.raises(WeightsRefused, match="`folder` is a int: a path is expected"):
        isslim.torch.load(5)  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsRefused, match="the folder of a compressed language model or reader"):
        isslim.torch.load(tmp_path / "empty")
    with pytest.raises(WeightsRefused, match=r"holds neither module\.safetensors nor state_dict"):
        isslim.torch.load(tmp_path / "empty", model=done.case.make())


def test_summary_counts_the_module_s_own_parameters(done: Done) -> None:
    before, after = (
        sum(p.numel() for p in each.parameters()) for each in (done.original, done.small.module)
    )
    assert f"{before:,} -> {after:,} parameters\n" in done.small.summary()
    assert "the one size" not in done.small.summary()


class Normalised(nn.Module):
    """A graph holds the means and variances as well, which are no parameters of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16, batch_first=True)
        self.norm = nn.BatchNorm1d(16)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Tensor:
        return self.scores(self.norm(self.lstm(series)[1][0][0]))  # type: ignore[no-any-return]


def test_summary_explains_where_a_graph_counts_more(tmp_path: Path) -> None:
    calls = [torch.randn(4, 7 + number % 2, 6) for number in range(12)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Normalised().eval()
    whole = sum(parameter.numel() for parameter in module.parameters())
    with isslim.compress(module, calls, budget={"limit": "size", "value": 0.9}) as small:
        assert small.variants["original"].parameters == whole + 2 * 16
        assert f"Normalised: {whole:,} -> " in small.summary()
        assert "; a graph also counts buffers" in small.summary()
        found = isslim.torch.load(small.save(tmp_path / "saved"), model=Normalised())
    for each, expected in zip(found.buffers(), small.module.buffers(), strict=True):
        assert torch.equal(each, expected)


class Halves(nn.Module):
    """Its code keeps the number of units."""

    def __init__(self) -> None:
        super().__init__()
        self.units = 16
        self.lstm = nn.LSTM(6, 16, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Tensor:
        return self.scores(self.lstm(series)[0][:, :, self.units :])  # type: ignore[no-any-return]


def test_summary_says_what_the_graph_and_the_module_lack() -> None:
    calls = [torch.randn(4, 7, 6) for _ in range(12)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Halves().eval()
    small = isslim.compress(module, calls, budget={"limit": "size", "value": 0.9})
    assert "takes the one size that all calls have: series [4, 7, 6]" in small.summary()
    assert "No module, only the graph: Halves " in small.summary()
    assert repr(small).endswith(", no module>")
    assert small.report.same_form is None
    with pytest.raises(ModuleNotCut) as refused:
        _ = small.module
    assert all(issue in str(refused.value) for issue in refused.value.issues)


def test_saved_bundle_of_a_module_is_compressed_again(done: Done, tmp_path: Path) -> None:
    saved = done.small.save(tmp_path / "saved")
    runs = [list(map(np.asarray, call)) for call in done.case.calls(12, 5)]
    with isslim.compress(saved, runs, budget=SIZE) as again:
        kept = {axis.name: axis.kept for axis in done.small.manifest.axes}
        assert {axis.name: axis.original for axis in again.manifest.axes} == kept
        assert (
            again.variants["compressed"].parameters <= 0.7 * again.variants["original"].parameters
        )
        with pytest.raises(ModuleNotCut, match="has no PyTorch module"):
            _ = again.module


def test_calls_may_be_arrays_and_named(done: Done) -> None:
    names = list(done.original.forward.__annotations__)[: len(done.case.calls(1, 0)[0])]
    calls = [
        dict(zip(names, map(np.asarray, call), strict=True)) for call in done.case.calls(15, 2)
    ]
    more = [tuple(map(np.asarray, call)) for call in done.case.calls(5, 3)]
    more_named = [dict(zip(names, call, strict=True)) for call in more]
    found = isslim.compress(done.original, calls, held_out=more_named, budget=SIZE)
    assert [axis.kept for axis in found.manifest.axes] == [
        axis.kept for axis in done.small.manifest.axes
    ]


class Ends(nn.Module):
    """The last step of one direction and the first of the other, by a number that it keeps."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.lstm = nn.LSTM(6, hidden, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(2 * hidden, 4)

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series)
        ends = made[:, -1, : self.hidden], made[:, 0, self.hidden :]
        return self.scores(torch.cat(ends, -1))


def test_number_that_user_code_keeps_is_set_told_and_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    calls = [(torch.randn(2, 5 + index % 3, 6),) for index in range(6)]
    with isslim.compress(Ends().eval(), calls, budget=SIZE) as small:
        size = small.module.lstm.hidden_size
        assert size < 16
        assert small.size_notes == [f"Ends.hidden is {size} now, and was 16"]
        assert small.size_notes[0] in small.summary()
        saved = small.save(tmp_path / "saved")
        # Built at any number, it gets that of the weights.
        for hidden in (16, 24):
            found = isslim.torch.load(saved, model=Ends(hidden))
            assert found.hidden == size
            assert torch.equal(found(*calls[0]), small.module(*calls[0]))


def test_note_of_numbers_that_is_none_is_refused(tmp_path: Path) -> None:
    module = Ends()
    weights = {name: each.detach() for name, each in module.named_parameters()}
    for noted in ("[", '[["", ["hidden"], "all"]]'):
        save_file(weights, tmp_path / "module.safetensors", {"numbers": noted})
        with pytest.raises(WeightsRefused, match="its metadata 'numbers' is damaged"):
            isslim.torch.load(tmp_path, model=module)
    # What the module does not have is not set.
    noted = '[["", ["forward"], 3], ["lstm", ["num_layers"], 3], ["", ["hidden"], 8]]'
    save_file(weights, tmp_path / "module.safetensors", {"numbers": noted})
    found = isslim.torch.load(tmp_path, model=module)
    assert (found.hidden, found.lstm.num_layers) == (8, 1)
    assert callable(found.forward)


@pytest.mark.slow
def test_a_module_comes_back_distilled_as_its_graph_is(tmp_path: Path) -> None:
    case = CASES["CRNN"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = models.trained(case.make(), case.calls(20, 1), case.loss)
    held_out = case.calls(5, 3)
    with isslim.compress(
        original, case.calls(30, 2), held_out=held_out, budget=SIZE, minutes=0.05
    ) as small:
        assert "minutes of distillation" in str(small.manifest.provenance.finetune)
        module = small.module
        assert module is not None
        small.to_onnx(tmp_path / "small.onnx", "compressed")
        session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
        (name,) = (port.name for port in session.get_inputs())
        for call in held_out:
            inputs = call if isinstance(call, Tensor) else call[0]
            with torch.no_grad():
                made = module(inputs)
            made = made[0] if isinstance(made, tuple) else made
            wanted = session.run(None, {name: inputs.numpy()})[0]
            np.testing.assert_allclose(made.numpy(), wanted, atol=1e-4)
