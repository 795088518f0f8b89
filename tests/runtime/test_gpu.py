"""Every kind of graph on a GPU against the same on the CPU; run where ONNX Runtime offers one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.language.scoring import next_log_probs, score_batch
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.opening import devices
from isslim.runtime.questions.session import QuestionSession
from tests.compress.kinds.language.networks.slow import NETWORKS, V
from tests.compress.kinds.language.networks.test_networks import random_network
from tests.compress.kinds.questions.test_export import SPECS, bidaf, side_of
from tests.tagger import recorded, tagger_graph

pytestmark = pytest.mark.skipif("cuda" not in devices(), reason="ONNX Runtime offers no GPU here")

TOLERANCE = 2e-5
"""Float32 in another order of sums."""


def sequences(vocabulary: int) -> list[list[int]]:
    """Unequal, some longer than a chunk."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, vocabulary, length).tolist() for length in (1, 150, 3, 64, 65, 2)]


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_score_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    export(random_network(name), tmp_path / "a.onnx")
    there, here = (
        LanguageSession(tmp_path / "a.onnx", device=device) for device in ("cuda", "cpu")
    )
    for found, expected in zip(
        *(score_batch(each, sequences(V), 5, top_k=3) for each in (there, here)), strict=True
    ):
        np.testing.assert_allclose(found.log_probs, expected.log_probs, rtol=0, atol=TOLERANCE)
    (found, state), (expected, known) = (
        next_log_probs(each, 3, each.zero_state(1)) for each in (there, here)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    for each, after in known.items():
        np.testing.assert_allclose(state[each], after, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bottleneck", [None, 96])
def test_a_model_of_usual_size_scores_as_on_the_cpu(bottleneck: int | None, tmp_path: Path) -> None:
    # Hundreds of units: products of ten bits of mantissa (TF32) would show.
    network = LstmLanguageModel(LstmSpec(2000, 300, (300, 300), bottleneck=bottleneck)).eval()
    network.initialise(0.15, torch.Generator().manual_seed(0))
    export(network, tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    for name, tolerance in (("a", TOLERANCE), ("b", 0.02)):
        there, here = (
            LanguageSession(tmp_path / f"{name}.onnx", device=device) for device in ("cuda", "cpu")
        )
        for found, expected in zip(
            *(score_batch(each, sequences(2000), 5) for each in (there, here)), strict=True
        ):
            np.testing.assert_allclose(found.log_probs, expected.log_probs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SPECS)
def test_questions_are_answered_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    network: Bidaf = bidaf(SPECS[name])
    export(network, tmp_path / "a.onnx")
    generator = np.random.default_rng(0)
    context, question = (
        side_of(generator, lengths, 5, network.spec) for lengths in ([9, 4, 1], [3, 5, 2])
    )
    sessions = (QuestionSession(tmp_path / "a.onnx", device=device) for device in ("cuda", "cpu"))
    there, here = (session.run(context, question) for session in sessions)
    for found, expected in zip(vars(there).values(), vars(here).values(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=5 * TOLERANCE)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_graphs_of_any_origin_run_as_on_the_cpu(
    kind: type[torch.nn.LSTM] | type[torch.nn.GRU], both: bool, tmp_path: Path
) -> None:
    path = tagger_graph(tmp_path, kind, both=both)
    there, here = (GraphSession(path, device=device) for device in ("cuda", "cpu"))
    apart = SubprocessGraphSession(path, threads=1, device="cuda", memory_bytes=1 << 30)
    for run in recorded(6):
        expected = here.run(run)["scores"]
        for found in (there.run(run)["scores"], apart.run(run, ["scores"])[0]["scores"]):
            np.testing.assert_allclose(found, expected, rtol=0, atol=10 * TOLERANCE)
    apart.close()
