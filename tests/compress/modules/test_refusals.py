"""What a module's author is told: layers that keep their units, and calls that cannot be used."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from isslim.compress.errors import CompressError, ModuleNotCut, ModuleRefused, NothingRemovable
from isslim.compress.modules.export import export_module
from tests.compress.modules.small import small_network


class Tagger(nn.Module):
    """A GRU whose state may be taken and returned, with something between it and its decoder."""

    def __init__(
        self, between: nn.Module | None = None, *, state: bool = False, layers: int = 1
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 16, layers)
        self.between = between or nn.Identity()
        self.scores = nn.Linear(16, 3)
        self.state = state

    def forward(self, series: Tensor, hidden: Tensor | None = None) -> Any:
        made, hidden = self.gru(series, hidden)
        scores = self.scores(self.between(made))
        return (scores, hidden) if self.state else scores


class Last(nn.Module):
    """The step at each length, chosen by `gather` and squeezed."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.lstm = nn.LSTM(6, 16, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, series: Tensor, lengths: Tensor) -> Any:
        made, _ = self.lstm(series)
        if self.how == "gather":
            chosen = (lengths - 1).view(-1, 1, 1).expand(-1, 1, made.size(2))
            return self.scores(made.gather(1, chosen).squeeze(1))
        return self.scores(made[:, -1:]).squeeze(1) + 0 * lengths[:, None]


class Padded(nn.Module):
    """Pads with a number that the exporter does not write."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True)
        self.scores = nn.Linear(8, 3)

    def forward(self, series: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(series, lengths, batch_first=True, enforce_sorted=False)
        made, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, padding_value=-9)
        return self.scores(made)


class Autocast(Tagger):
    def forward(self, series: Tensor, hidden: Tensor | None = None) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = super().forward(series, hidden)
        return made.float()


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 6)
        self.tagger = Tagger()

    def forward(self, ids: Tensor) -> Any:
        return self.tagger(self.table(ids))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, series: Tensor) -> Any:
        made, _ = self.lstm(series)
        return self.attention(made, made, made)[0].mean(1) * made.shape[1]


def series(count: int = 6) -> list[Any]:
    torch.manual_seed(0)
    return [torch.randn(5 + index % 3, 2 + index % 2, 6) for index in range(count)]


def with_lengths(count: int = 6) -> list[Any]:
    torch.manual_seed(0)
    return [
        (torch.randn(2 + index % 3, 5 + index % 4, 6), torch.randint(1, 6, (2 + index % 3,)))
        for index in range(count)
    ]


def refused(module: nn.Module, calls: Sequence[Any], folder: Path) -> CompressError:
    with pytest.raises(CompressError) as caught:
        export_module(module.eval(), calls, folder / "graph.onnx")
    return caught.value


@pytest.mark.parametrize("how", ["gather", "last"])
def test_dimension_of_one_entry_is_squeezed_away(how: str, tmp_path: Path) -> None:
    module, calls = Last(how).eval(), with_lengths()
    exported = export_module(module, calls, tmp_path / "graph.onnx")
    small = exported.cut(small_network(exported))
    assert small.lstm.hidden_size < 16
    assert small(*calls[1]).shape == module(*calls[1]).shape


def test_state_that_is_only_returned_is_told_with_both_remedies(tmp_path: Path) -> None:
    error = refused(Tagger(state=True), series(), tmp_path)
    assert isinstance(error, NothingRemovable)
    assert error.detail == (
        "no unit of Tagger can be removed: Tagger.gru keeps its 16 units: forward returns the "
        "state of Tagger.gru as 'output_1', and does not take it: record the state as an input too "
        "(an argument of forward that is given to the layer), or return only the other outputs"
    )
    # What it advises works.
    calls = [(each, torch.zeros(1, each.shape[1], 16)) for each in series()]
    for module, inputs in ((Tagger(state=True), calls), (Tagger(), series())):
        exported = export_module(module.eval(), inputs, tmp_path / "graph.onnx")
        assert exported.cut(small_network(exported)).gru.hidden_size < 16


def test_bare_layer_is_told_what_it_returns(tmp_path: Path) -> None:
    error = refused(nn.LSTM(6, 16), series(), tmp_path)
    assert isinstance(error, NothingRemovable)
    assert "LSTM keeps its 16 units: they are what forward returns as 'output_0'" in error.detail
    assert "the state of LSTM as 'output_1_0' and 'output_1_1'" in error.detail
    assert len(error.issues) == 2


@pytest.mark.parametrize(
    ("between", "path"),
    [
        (lambda: nn.LayerNorm(16), "Tagger.between"),
        (lambda: nn.Sequential(nn.Tanh(), nn.LayerNorm(16)), "Tagger.between.1"),
        (
            lambda: nn.Sequential(nn.Identity(), nn.Sequential(nn.Tanh(), nn.LayerNorm(16))),
            "Tagger.between.1.1",
        ),
    ],
)
def test_normalisation_is_told_by_its_attribute(
    between: Callable[[], nn.Module], path: str, tmp_path: Path
) -> None:
    error = refused(Tagger(between()), series(), tmp_path)
    assert f"Tagger.gru keeps its 16 units: {path} normalises over them" in error.detail
    assert "/gru" not in " ".join([error.detail, *error.issues])


def test_layer_that_holds_up_its_module_is_told_by_its_attribute(tmp_path: Path) -> None:
    module = Tagger(nn.LayerNorm(16), layers=2).eval()
    exported = export_module(module, series(), tmp_path / "graph.onnx")
    with pytest.raises(ModuleNotCut, match="Tagger would be as large as before") as caught:
        exported.cut(small_network(exported, free=True))
    (issue,) = caught.value.issues
    assert issue.startswith("Tagger.gru keeps its 16 units: Tagger.between normalises over them")


def test_other_obstacles_are_told_by_attributes(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, made: Tensor) -> Any:
            return made.sort(-1)[0]

    error = refused(Tagger(Sorted()), series(), tmp_path)
    assert isinstance(error, NothingRemovable)
    assert "TopK in Tagger.between" in error.detail


def test_id_out_of_range_is_told_with_its_table(tmp_path: Path) -> None:
    calls = [torch.randint(9, (4 + index, 2)) for index in range(3)]
    calls[1][2, 1] = 9
    error = refused(Words(), calls, tmp_path)
    assert error.detail == (
        "inputs[1]: Words.table is called with the id 9, and has the ids 0 to 8"
    )


def test_autocast_is_told_with_its_layer(tmp_path: Path) -> None:
    assert (
        "Autocast.gru runs under torch.autocast" in refused(Autocast(), series(), tmp_path).detail
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "Tagger runs under" in refused(Tagger(), series(), tmp_path).detail


def test_empty_call_is_told_by_number(tmp_path: Path) -> None:
    error = refused(Tagger(), [*series(2), torch.zeros(5, 0, 6)], tmp_path)
    assert "inputs[2]: 'series' is empty, its shape is (5, 0, 6)" in error.detail


def test_calls_with_nan_are_not_compared(tmp_path: Path) -> None:
    calls = series()
    calls[0][0, 0, 0], calls[3][0, 0, 0] = torch.nan, torch.inf
    exported = export_module(Tagger().eval(), calls, tmp_path / "graph.onnx")
    assert len(exported.recorded) == 6
    finite = dataclasses.replace(exported, recorded=exported.recorded[1:3])
    assert exported.cut(small_network(finite)).gru.hidden_size < 16
    error = refused(Tagger(), calls[:1], tmp_path)
    assert error.detail == "every call of Tagger holds NaN or infinite numbers"


def test_padding_is_among_the_possible_causes(tmp_path: Path) -> None:
    error = refused(Padded(), with_lengths(), tmp_path)
    assert isinstance(error, ModuleRefused)
    assert "gives other outputs than Padded for inputs[" in error.detail
    assert "`padding_value` other than 0" in error.detail


def test_attention_is_among_the_possible_causes(tmp_path: Path) -> None:
    calls = [torch.randn(2 + index % 2, 4 + index, 6) for index in range(4)]
    error = refused(Attending(), calls, tmp_path)
    assert "Possible causes: Attending.attention is an nn.MultiheadAttention" in error.detail


def test_projection_is_told_without_the_exporter(tmp_path: Path) -> None:
    error = refused(nn.LSTM(6, 16, proj_size=7), series(), tmp_path)
    assert "LSTM is an nn.LSTM with proj_size=7, which ONNX's LSTM does not have" in error.detail


def test_compiled_module_is_told_where_its_original_is(tmp_path: Path) -> None:
    with warnings.catch_warnings():  # of torch about itself
        warnings.simplefilter("ignore")
        module = torch.compile(Tagger())
    error = refused(module, series(), tmp_path)
    assert "pass the module that it was compiled from (`module._orig_mod`)" in error.detail


def test_quantized_is_the_first_reason(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(Tagger().eval(), {nn.GRU, nn.Linear})
    error = refused(module, series(), tmp_path)
    assert error.issues == [
        "Tagger.gru, Tagger.scores are quantized already: pass the module from before quantization"
    ]


def test_none_among_outputs_is_passed_over(tmp_path: Path) -> None:
    class Hugging(Tagger):
        def forward(self, series: Tensor, hidden: Tensor | None = None) -> Any:
            return None, super().forward(series, hidden), None

    module, calls = Hugging().eval(), series()
    exported = export_module(module, calls, tmp_path / "graph.onnx")
    assert exported.outputs == ("output_1",)
    small = exported.cut(small_network(exported))
    assert [each is None for each in small(copy.deepcopy(calls[0]))] == [True, False, True]
