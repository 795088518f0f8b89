"""One model of two layers, exported by torch in seven ways: the same units, the same outputs."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.onnx_reader import read_graph
from isslim.compress.pruning.moments import ActivationStatistics, Moments
from isslim.compress.pruning.ranking import prune, rank_components
from tests.compress.onnx.proving import assert_cut_equals_masked, cut, run

STEPS, BATCH, VOCABULARY, WIDTH, UNITS = 5, 3, 11, 6, 8


class Tagger(nn.Module):
    """Embedding, two LSTMs, a linear layer."""

    def __init__(self, *, bidirectional: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, UNITS, 2, bidirectional=bidirectional)
        self.out = nn.Linear(UNITS * (2 if bidirectional else 1), 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of every step."""
        result: Tensor = self.out(self.lstm(self.embedding(tokens))[0])
        return result


def legacy(opset: int) -> Callable[[nn.Module, Tensor, Path], None]:
    """The exporter by tracing."""

    def export(model: nn.Module, tokens: Tensor, path: Path) -> None:
        torch.onnx.export(
            model,
            (tokens,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["tokens"],
            output_names=["scores"],
            dynamic_axes={"tokens": {0: "T", 1: "B"}, "scores": {0: "T", 1: "B"}},
        )

    return export


def dynamo(*, free: bool, opset: int | None = None) -> Callable[[nn.Module, Tensor, Path], None]:
    """The exporter by `torch.export`, which computes the weights in the graph."""

    def export(model: nn.Module, tokens: Tensor, path: Path) -> None:
        if importlib.util.find_spec("onnxscript") is None:
            pytest.skip("torch's dynamo exporter needs onnxscript, which is not installed")
        sizes = (
            {"dynamic_shapes": ({0: torch.export.Dim("T"), 1: torch.export.Dim("B")},)}
            if free
            else {}
        )
        program = torch.onnx.export(
            model,
            (tokens,),
            dynamo=True,
            opset_version=opset,
            input_names=["tokens"],
            output_names=["scores"],
            verbose=False,
            **sizes,
        )
        assert program is not None
        program.save(str(path))

    return export


EXPORTERS = {
    "legacy 11": legacy(11),
    "legacy 13": legacy(13),
    "legacy 17": legacy(17),
    "legacy 20": legacy(20),
    "dynamo static": dynamo(free=False),
    "dynamo dynamic": dynamo(free=True),
    "dynamo newest": dynamo(free=True, opset=23),
}


def tagger(bidirectional: bool) -> tuple[Tagger, list[Tensor]]:
    """The model, always the same, and inputs of the sizes that it is exported with."""
    torch.manual_seed(1)
    model = Tagger(bidirectional=bidirectional).eval()
    generator = torch.Generator().manual_seed(2)
    return model, [
        torch.randint(0, VOCABULARY, (STEPS, BATCH), generator=generator) for _ in range(40)
    ]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """Exports the model, once in each way: torch's dynamo exporter takes seconds."""
    folder = tmp_path_factory.mktemp("exports")

    def export(exporter: str, bidirectional: bool) -> Path:
        path = folder / f"{exporter}-{bidirectional}.onnx"
        if not path.exists():
            model, runs = tagger(bidirectional)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                EXPORTERS[exporter](model, runs[0], path)
        return path

    return export


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("exporter", "bidirectional"),
    [
        # torch's dynamo exporter takes seconds: but for its newest form it is tried with the slow
        # tests.
        pytest.param(
            name,
            both,
            marks=[pytest.mark.slow]
            if name.startswith("dynamo") and (both or name != "dynamo newest")
            else [],
        )
        for name in EXPORTERS
        for both in (False, True)
    ],
)
def test_an_export_is_cut_like_every_other(
    exporter: str, bidirectional: bool, exported: Callable[[str, bool], Path]
) -> None:
    model, (tokens, *_) = tagger(bidirectional)
    feeds = {"tokens": tokens.numpy()}
    network = assert_cut_equals_masked(read_graph(exported(exporter, bidirectional)), feeds)

    directions = 2 if bidirectional else 1
    embedding, *axes = network.declaration().axes
    assert embedding.startswith("channels:")
    assert len(axes) == 2 * directions
    kept = {
        axis: np.sort(np.random.default_rng(i).choice(UNITS, 5, replace=False))
        for i, axis in enumerate(axes)
    }
    made = run(cut(network, kept).model(), feeds)["scores"]
    np.testing.assert_allclose(
        made, silenced_in_torch(model, list(kept.values()), tokens), rtol=1e-5, atol=1e-5
    )
    assert not any(axis.reasons for axis in network.report())


def silenced_in_torch(model: Tagger, kept: list[np.ndarray], tokens: Tensor) -> np.ndarray:
    """The model's own output with the rows of the removed units at zero, layer by layer."""
    suffixes = ["", "_reverse"] if model.lstm.bidirectional else [""]
    with torch.no_grad():
        places = [f"_l{layer}{suffix}" for layer in (0, 1) for suffix in suffixes]
        for place, indices in zip(places, kept, strict=True):
            gone = np.setdiff1d(np.arange(UNITS), indices)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                parameter = getattr(model.lstm, name + place)
                parameter.view(4, UNITS, -1)[:, gone] = 0
        result: np.ndarray = model(tokens).numpy()
    return result


def test_all_seven_are_tried() -> None:
    assert len(EXPORTERS) == 7
    assert GraphNetwork.architecture == "onnx-graph"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_seven_keep_the_same_units_and_give_the_same_outputs(
    exported: Callable[[str, bool], Path],
) -> None:
    """By the pipeline's own order and repair, from the same recorded inputs."""
    model, runs = tagger(bidirectional=False)
    kept: dict[str, list[list[int]]] = {}
    outputs: dict[str, np.ndarray] = {}
    original = model(runs[0]).detach().numpy()
    for exporter in EXPORTERS:
        network = GraphNetwork.from_model(read_graph(exported(exporter, False)))
        observer, declaration = network.observer(), network.declaration()
        moments: dict[str, Moments] = {}
        for tokens in runs:
            for site, rows in observer.rows(
                run(observer.model, {"tokens": tokens.numpy()})
            ).items():
                new = Moments.of(rows)
                moments[site] = moments[site] + new if site in moments else new
        observed = ActivationStatistics(moments, STEPS * BATCH * len(runs))
        removal_plan = rank_components(
            network.arrays(), declaration, observed, prunable=list(declaration.axes), min_kept=2
        )
        pruned = prune(removal_plan, 0.5)
        kept[exporter] = [pruned.keep[axis].tolist() for axis in declaration.axes]
        outputs[exporter] = run(
            network.rebuilt(pruned.arrays).model(), {"tokens": runs[0].numpy()}
        )["scores"]
    first = kept["legacy 11"]
    assert all(2 <= len(units) < UNITS for units in first)
    _, units, _ = first
    assert units != list(range(len(units)))  # chosen, not the first ones
    assert kept == dict.fromkeys(EXPORTERS, first)
    assert np.abs(outputs["legacy 11"] - original).max() > 1e-3  # something was taken away
    for made in outputs.values():
        np.testing.assert_allclose(made, outputs["legacy 11"], rtol=1e-5, atol=1e-5)
