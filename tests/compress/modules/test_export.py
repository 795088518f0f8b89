"""From a module to a graph: what is refused in which words, and that nothing of it changes."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_sequence

from isslim.compress.errors import ModuleRefused
from isslim.compress.modules.export import export_module
from isslim.runtime.graphs.recorded_inputs import GraphSession
from tests.compress.modules.small import small_network, whole_network
from tests.compress.modules.zoo import EXAMPLES, LanguageModel, PackedTagger


class Tagger(nn.Module):
    """A layer and its reader; what forward makes of them is given."""

    def __init__(self, finish: Callable[[Tensor], Any] = lambda made: made) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 6, batch_first=True)
        self.scores = nn.Linear(6, 2)
        self.finish = finish

    def forward(self, series: Tensor) -> Any:
        return self.finish(self.scores(self.encoder(series)[0]))


def calls() -> list[Tensor]:
    return [torch.randn(2 + index, 4 + index, 3) for index in range(3)]


def refused(module: Any, inputs: Any, folder: Path) -> ModuleRefused:
    """The refusal, after a look at whether the module is as it was."""
    before = snapshot(module)
    with pytest.raises(ModuleRefused) as caught:
        export_module(module, inputs, folder / "graph.onnx")
    assert snapshot(module) == before
    return caught.value


def snapshot(module: Any) -> Any:
    """Everything of a module that an export could change."""
    if not isinstance(module, nn.Module):
        return None
    hooks = [
        (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._parameters))
        for part in module.modules()
    ]
    modes = [part.training for part in module.modules()]
    kept = [
        id(weight) for part in module.modules() for weight in getattr(part, "_flat_weights", [])
    ]
    tensors = [
        (name, id(each), each.requires_grad, str(each.device), each._version, each.grad is None)
        for name, each in [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(),
        ]
    ]
    return hooks, modes, kept, tensors


class Stateful(Tagger):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, series: Tensor) -> Tensor:
        self.seen += 1
        made: Tensor = super().forward(series) * self.seen
        return made


class Branching(Tagger):
    def forward(self, series: Tensor) -> Tensor:
        made: Tensor = super().forward(series)
        return made * 2 if float(series.detach()[0, 0, 0]) > 0 else made


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 6)

    def forward(self, step: Tensor) -> Tensor:
        return self.cell(step)[0]  # type: ignore[no-any-return]


def on_meta() -> nn.Module:
    module = Tagger()
    module.scores = nn.Linear(6, 2, device="meta")
    return module


def sharing() -> nn.Module:
    module = nn.Sequential(nn.LSTM(3, 3), nn.LSTM(3, 3))
    module[1].weight_hh_l0 = module[0].weight_hh_l0
    return module


def parametrised() -> nn.Module:
    module = Tagger()
    nn.utils.parametrizations.weight_norm(module.scores)
    return module


def lazy() -> nn.Module:
    module = Tagger()
    module.scores = nn.LazyLinear(2)
    return module


def pruned() -> nn.Module:
    module = Tagger()
    prune.l1_unstructured(module.scores, "weight", 0.5)
    return module


def compiled() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(2, 2))  # type: ignore[no-any-return]


def quantized() -> nn.Module:
    module = Tagger()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.scores = torch.ao.nn.quantized.dynamic.Linear(6, 2)
    return module


@dataclasses.dataclass
class Scores:
    scores: Tensor


MODULES: list[tuple[str, Callable[[], Any], str]] = [
    ("not a module", lambda: {"weight": 1}, "expected a torch.nn.Module, found dict"),
    ("compiled", compiled, "compiled by torch.jit"),
    (
        "no layer",
        lambda: nn.Sequential(nn.Linear(3, 2)),
        "Sequential cannot be compressed as it is: it holds no nn.LSTM, nn.GRU or nn.RNN",
    ),
    ("cells", Cells, "Cells.cell is a cell that forward calls step by step"),
    ("meta", on_meta, "Tagger.scores.weight, Tagger.scores.bias are on the device 'meta'"),
    ("double", lambda: Tagger().double(), r"Tagger.encoder.weight_ih_l0.*torch.float64.*float32"),
    ("shared", sharing, r"Sequential\.0\.weight_hh_l0 and Sequential\.1\.weight_hh_l0 are one"),
    ("parametrised", parametrised, "Tagger.scores is parametrised.*remove_parametrizations"),
    ("lazy", lazy, "Tagger.scores is without weights yet"),
    ("pruned", pruned, r"Tagger.scores computes a weight before every call \(L1Unstructured\)"),
    ("quantized", quantized, "Tagger.scores is quantized already"),
    ("dict", lambda: Tagger(lambda made: {"scores": made}), "returns dict with the keys 'scores'"),
    ("dataclass", lambda: Tagger(Scores), "Tagger.forward returns Scores; a graph returns tensors"),
    (
        "random",
        lambda: Tagger(lambda made: made + torch.rand(())),
        "gives other outputs when it is",
    ),
    ("stateful", Stateful, "gives other outputs when it is called again"),
    ("branches", Branching, "the exported graph gives other outputs than Branching for inputs"),
    (
        "no operator",
        lambda: Tagger(lambda made: torch.linalg.svdvals(made)),
        "Tagger cannot be exported to ONNX by torch: ",
    ),
]


@pytest.mark.parametrize(
    ("make", "words"), [case[1:] for case in MODULES], ids=[case[0] for case in MODULES]
)
def test_module_is_refused_in_its_own_words(
    make: Callable[[], Any], words: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = make()
    error = refused(module.eval() if isinstance(module, nn.Module) else module, calls(), tmp_path)
    with pytest.raises(ModuleRefused, match=words):
        raise error


def test_training_mode_is_refused_and_kept(tmp_path: Path) -> None:
    module = Tagger().eval()
    module.scores.train()
    error = refused(module, calls(), tmp_path)
    assert "Tagger.scores is in training mode" in error.detail
    assert "`module.eval()`" in error.detail
    assert module.scores.training
    assert not module.training


def test_every_reason_is_told(tmp_path: Path) -> None:
    error = refused(on_meta(), calls(), tmp_path)
    assert [("training" in issue, "meta" in issue) for issue in error.issues] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "no inputs were given"),
        ([(torch.zeros(1, 2, 3), 1)], r"inputs\[0\] does not fit Tagger.forward\(series\)"),
        ([{"serie": torch.zeros(1, 2, 3)}], "missing a required argument: 'series'"),
        ([torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)], r"cannot be run on inputs\[1\]: RuntimeErr"),
        (
            [torch.zeros(1, 2, 3), torch.zeros(2, 3)],
            r"inputs\[1\]: 'series' is a torch.float32 of 2",
        ),
        ([torch.zeros(1, 2, 3), None], r"inputs\[1\] is not built as inputs\[0\] is"),
        ([torch.zeros(1, 2, 3, device="meta")], r"inputs\[0\]: 'series' is on the device 'meta'"),
        ([pack_sequence([torch.zeros(2, 3)])], "'series' is a PackedSequence"),
        ([{1, 2}], "'series' is a set; tensors"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_inputs_that_do_not_fit_are_told_by_number(
    inputs: list[Any], words: str, tmp_path: Path
) -> None:
    error = refused(Tagger().eval(), inputs, tmp_path)
    with pytest.raises(ModuleRefused, match=words):
        raise error


def test_nothing_outside_changes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLES["packed tagger"]
    module, inputs = PackedTagger().eval(), example.calls(4)
    settings = onnx_settings()
    before = snapshot(module), torch.random.get_rng_state(), list(warnings.filters), settings
    exported = export_module(module, inputs, tmp_path / "graph.onnx")
    after = snapshot(module), torch.random.get_rng_state(), list(warnings.filters), onnx_settings()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert capfd.readouterr() == ("", "")
    assert exported.recorded[0]["ids"] is not inputs[0][0]


def test_exporter_that_fails_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = Tagger(lambda made: torch.linalg.svdvals(made)).eval()
    error = refused(module, calls(), tmp_path)
    assert "svd" in error.detail
    assert capfd.readouterr() == ("", "")


def onnx_settings() -> dict[str, Any]:
    from torch.onnx._internal.torchscript_exporter import _globals

    return dict(vars(_globals.GLOBALS))


def test_what_others_write_to_stderr_meanwhile_is_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import os

    def finish(made: Tensor) -> Tensor:
        os.write(2, b"mine\n")
        return made

    export_module(Tagger(finish).eval(), calls(), tmp_path / "graph.onnx")
    assert set(capfd.readouterr().err.split()) == {"mine"}


def test_sizes_that_differ_among_inputs_are_free(tmp_path: Path) -> None:
    exported = export_module(
        LanguageModel().eval(), EXAMPLES["language model"].calls(4), tmp_path / "g"
    )
    graph = onnx.load(exported.path).graph
    shapes = {
        port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
        for port in graph.input
    }
    batch = shapes["tokens"][1]
    assert isinstance(batch, str)
    assert shapes["hidden_0"] == shapes["hidden_1"] == [2, batch, 12]
    other = {"tokens": np.zeros((3, 7), np.int64)}
    other |= {f"hidden_{index}": np.zeros((2, 7, 12), np.float32) for index in (0, 1)}
    assert GraphSession(exported.path).run(other)["output_0"].shape == (3, 7, 20)


def test_arguments_by_name_and_constants_are_part_of_the_graph(tmp_path: Path) -> None:
    class Optional(Tagger):
        def forward(self, series: Tensor, mask: Tensor | None = None, *, scale: float = 1) -> Any:
            made = super().forward(series) * scale
            return made if mask is None else made * mask

    inputs = [{"series": each, "scale": 2.0} for each in calls()]
    module = Optional().eval()
    exported = export_module(module, inputs, tmp_path / "graph.onnx")
    assert list(exported.recorded[0]) == ["series"]
    found = GraphSession(exported.path).run(exported.recorded[1])["output"]
    wanted = module(calls()[0], scale=2.0).shape
    assert found.shape[2] == wanted[2]
    with pytest.raises(
        ModuleRefused, match=r"found \(series, scale=3.0\), expected \(series, scale="
    ):
        export_module(
            module, [*inputs, {"series": calls()[0], "scale": 3.0}], tmp_path / "graph.onnx"
        )


def test_argument_that_reaches_no_output_is_no_input(tmp_path: Path) -> None:
    class Ignoring(Tagger):
        def forward(self, series: Tensor, other: Tensor) -> Any:
            return super().forward(series)

    inputs = [(each, torch.zeros(3)) for each in calls()]
    exported = export_module(Ignoring().eval(), inputs, tmp_path / "graph.onnx")
    assert [list(run) for run in exported.recorded] == [["series"]] * 3
    small = exported.cut(small_network(exported))
    assert small(*inputs[0]).shape == (2, 4, 2)


def test_argument_that_is_called_as_a_parameter_gets_another_name(tmp_path: Path) -> None:
    class Named(Tagger):
        def __init__(self) -> None:
            super().__init__()
            self.series = nn.Parameter(torch.randn(6, 2))

        def forward(self, series: Tensor) -> Any:
            return self.encoder(series)[0] @ self.series

    exported = export_module(Named().eval(), calls(), tmp_path / "graph.onnx")
    assert list(exported.recorded[0]) == ["series_"]
    network = small_network(exported)
    (size,) = network.declaration().axes.values()
    assert exported.cut(network).series.shape == (size, 2)


def test_shared_matrix_is_stored_once(tmp_path: Path) -> None:
    module = LanguageModel(tied=True).eval()
    exported = export_module(module, EXAMPLES["language model"].calls(4), tmp_path / "graph.onnx")
    names = [tensor.name for tensor in onnx.load(exported.path).graph.initializer]
    assert "encoder.weight" in names
    assert "decoder.weight" not in names
    assert module.decoder.weight is module.encoder.weight


def test_module_that_cannot_be_copied_is_told(tmp_path: Path) -> None:
    class Locked(Tagger):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle '_thread.lock' object")

    error = refused(Locked().eval(), calls(), tmp_path)
    assert "Locked cannot be copied (`copy.deepcopy`)" in error.detail
    assert "_thread.lock" in error.detail


def test_training_on_afterwards_does_not_reach_what_was_exported(tmp_path: Path) -> None:
    example = EXAMPLES["sequential"]
    module = example.trained()
    twin = copy.deepcopy(module)
    exported = export_module(module, example.calls(6), tmp_path / "graph.onnx")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(exported.cut(whole_network(exported))[0].weight, twin[0].weight)


class Shared(nn.Module):
    """A matrix that is used twice, a buffer and a parameter that is computed with another."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.encoder = nn.Linear(6, 6), nn.LSTM(6, 6, batch_first=True)
        self.scores, self.gain = nn.Linear(6, 2), nn.Parameter(torch.rand(6, 1))
        self.register_buffer("scale", torch.rand(6))

    def forward(self, series: Tensor) -> Tensor:
        steps = self.encoder(self.enter(self.enter(series * self.scale)))[0]
        return self.scores(steps) + series @ (self.gain * self.gain.exp())  # type: ignore[no-any-return]


def test_training_leaves_alone_what_is_no_single_parameter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Shared().eval()
    inputs = [torch.randn(2 + index, 4 + index, 6) for index in range(3)]
    exported = export_module(module, inputs, tmp_path / "graph.onnx")
    small = small_network(exported)
    fixed = exported.not_trained(small)
    left = {name: mask for name, mask in small.free_weights().items() if name not in fixed}
    values = {name: each.detach().numpy() for name, each in module.named_parameters()}
    now = {each.name: onnx.numpy_helper.to_array(each) for each in small.model().graph.initializer}
    generator = np.random.default_rng(0)
    taught = small.with_weights(
        {
            name: now[name] + mask * generator.normal(0, 0.1, mask.shape).astype(np.float32)
            for name, mask in left.items()
        }
    )
    # Everything that may be trained goes back into the module, which then equals the graph.
    again = exported.cut(taught)
    changed = {
        name
        for name, each in again.named_parameters()
        if each.shape != values[name].shape or not np.array_equal(each.detach(), values[name])
    }
    assert {"encoder.weight_ih_l0", "scores.weight", "scores.bias", "enter.weight"} <= changed
    assert "gain" not in changed
    assert torch.equal(again.get_buffer("scale"), module.scale)
    for each in (1, 2):
        with torch.no_grad():
            made = again(inputs[each]).numpy()
        path = tmp_path / "taught.onnx"
        path.write_bytes(taught.model().SerializeToString())
        graph = GraphSession(path)
        (name,) = graph.inputs
        (wanted,) = graph.run({name: inputs[each].numpy()}).values()
        np.testing.assert_allclose(made, wanted, atol=1e-4)
