"""Moments of BiDAF's activations against those of each question by itself."""

from __future__ import annotations

import numpy as np
import torch

from isslim.compress.kinds.questions.activations import collect_question_activations
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from tests.compress.kinds.questions import made


def test_moments_are_those_of_every_token_without_padding() -> None:
    torch.manual_seed(0)
    data = made.questions(40, seed=3)
    spec = BidafSpec(12, int(data.characters.max()) + 1, 4, 6, (3, 4), (4, 2), (3, 3), (2, 5))
    network, shares = Bidaf(spec).eval(), list[float]()
    found = collect_question_activations(network, data, shares.append)
    rows: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for index in range(len(data.examples)):
            for site, each in network.site_inputs(*data.inputs([index])).items():
                rows.setdefault(site, []).append(each.double().numpy())
    assert rows.keys() == found.moments.keys()
    for site, parts in rows.items():
        expected, moments = np.concatenate(parts), found.moments[site].whole
        assert moments.count == len(expected)
        np.testing.assert_allclose(moments.mean, expected.mean(0), rtol=0, atol=1e-5)
        second = expected.T @ expected / len(expected)
        np.testing.assert_allclose(moments.second, second, rtol=0, atol=1e-5)
        assert 0 < found.moments[site].half.count < moments.count
    tokens = [len(each.context_row) + len(each.question_row) for each in data.examples]
    assert found.tokens == sum(tokens)
    assert shares[-1] == 1.0
