"""The recurrent layers of a state dict: complete, of one kind, in order."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.language.ingest.layers import LayersUnknown, find_layers
from isslim.compress.kinds.language.networks.gru import GruLanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel

E, H, V = 4, 3, 9
Given = dict[str, np.ndarray]


def layer(
    prefix: str, gates: int, below: int, suffix: str = "_l0", *, biases: bool = True
) -> Given:
    generator = np.random.default_rng(len(prefix) + below)
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (gates * H, below),
        "weight_hh": (gates * H, H),
    }
    if biases:
        shapes |= {"bias_ih": (gates * H,), "bias_hh": (gates * H,)}
    return {
        f"{prefix}{kind}{suffix}": generator.normal(size=shape).astype(np.float32)
        for kind, shape in shapes.items()
    }


def others() -> Given:
    return {"embed.weight": np.zeros((V, E), np.float32), "fc.weight": np.ones((V, H), np.float32)}


@pytest.mark.parametrize(("gates", "kind"), [(4, LstmLanguageModel), (3, GruLanguageModel)])
def test_layers_are_taken_by_number_of_gates_and_the_rest_is_left(gates: int, kind: type) -> None:
    own = layer("rnn.", gates, E) | layer("rnn.", gates, H, "_l1")
    stack = find_layers(own | others(), None, {})
    assert stack.kind is kind
    assert [each["weight_ih"].shape[1] for each in stack.layers] == [E, H]
    assert stack.modules == ["rnn"]
    assert stack.rest.keys() == others().keys()
    assert stack.dropped == ()


def test_the_dropped_copy_of_a_weight_is_not_the_weight() -> None:
    own = layer("rnns.0.", 4, E)
    raw = own.pop("rnns.0.weight_hh_l0")
    own |= {"rnns.0.weight_hh_l0_raw": raw, "rnns.0.module.weight_hh_l0": 2 * raw}
    stack = find_layers(own | others(), None, {})
    np.testing.assert_array_equal(stack.layers[0]["weight_hh"], raw)
    assert "a copy with dropout of 'rnns.0.weight_hh_l0_raw'" in stack.dropped[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "there is no recurrent layer"),
        (layer("rnn.", 4, E) | layer("rnn.", 4, H, "_l2"), "layer 1 is missing"),
        (layer("a.", 4, E) | layer("b.", 3, H), "not of one kind"),
        (layer("rnn.", 1, E), "plain RNN"),
        (layer("rnn.", 5, E), "neither LSTM nor GRU"),
        (layer("lstm.", 3, E), "is called LSTM, but its weight_hh has the 9 rows of a GRU"),
        (layer("rnn.", 4, E) | layer("rnn.", 4, E, "_l0_reverse"), "bidirectional"),
        (layer("rnn.", 4, E) | layer("rnn.", 4, H, "_l1", biases=False), "bias_ih is missing"),
    ],
)
def test_incomplete_and_mixed_layers_are_refused(given: Given, words: str) -> None:
    with pytest.raises(LayersUnknown, match=words):
        find_layers(given | others(), None, {})


def test_half_a_layer_is_refused() -> None:
    own = layer("rnn.", 4, E)
    del own["rnn.bias_hh_l0"]
    with pytest.raises(LayersUnknown, match="bias_hh is missing"):
        find_layers(own | others(), None, {})
    del own["rnn.weight_hh_l0"]
    with pytest.raises(LayersUnknown, match="weight_hh is missing"):
        find_layers(own | others(), None, {})


def test_options_of_the_run_count_the_layers_unless_the_config_lists_them() -> None:
    own = layer("rnn.", 4, E) | others()
    with pytest.raises(LayersUnknown, match=r"another number \('args.nlayers' = 2\)"):
        find_layers(own, None, {"args.nlayers": 2})
    assert len(find_layers(own, ["rnn"], {"args.nlayers": 2}).layers) == 1
    assert len(find_layers(own, None, {"args.nlayers": 2, "args.layers": 1}).layers) == 1
