"""The equations of every network, one step at a time in float64, with masked components."""

from __future__ import annotations

import numpy as np

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec

V = 31
NETWORKS: dict[str, LstmSpec | GruSpec | RhnSpec] = {
    "lstm": LstmSpec(V, 6, (9, 7)),
    "lstm-tied": LstmSpec(V, 7, (9, 7), tied=True),
    "gru": GruSpec(V, 6, (9, 7)),
    "gru-tied": GruSpec(V, 7, (9, 7), tied=True),
    "rhn": RhnSpec(V, 6, 9, 3),
    "rhn-tied": RhnSpec(V, 9, 9, 3, tied=True),
    "rhn-depth-1": RhnSpec(V, 9, 9, 1, tied=True),
}

RANKED: dict[str, LstmSpec | GruSpec | RhnSpec] = {
    "lstm-ranks": LstmSpec(V, 6, (9, 7), input_ranks=(0, 4), recurrent_ranks=(3, 5), bottleneck=4),
    "lstm-ranks-tied": LstmSpec(
        V, 7, (9, 7), tied=True, input_ranks=(4, 5), recurrent_ranks=(3, 0)
    ),
    "lstm-blocks": LstmSpec(
        V, 6, (9, 7), recurrent_ranks=(0, 4), blocks=(5, 12, 14), block_ranks=(5, 3, 0)
    ),
    "gru-ranks": GruSpec(V, 6, (9, 7), input_ranks=(4, 0), recurrent_ranks=(3, 5)),
    "gru-blocks": GruSpec(V, 6, (9, 7), input_ranks=(0, 4), blocks=(20, 11)),
}
"""With narrow layers, and with the decoder in blocks."""
EVERY = NETWORKS | RANKED


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_log_probs(
    network: LanguageModel, tokens: np.ndarray, keep: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """Log-probabilities (T, B, V) from a zero state, removed components masked at every step."""
    arrays = {name: array.astype(np.float64) for name, array in network.arrays().items()}
    masks = {axis: np.zeros(size) for axis, size in network.declaration().axes.items()}
    for axis, mask in masks.items():
        mask[keep[axis] if keep and axis in keep else slice(None)] = 1
    state: dict[str, np.ndarray] = {}
    result = []
    for row in tokens:
        if isinstance(network, RhnLanguageModel):
            top = _highway(network, arrays, masks, state, row)
        elif isinstance(network, GruLanguageModel | LstmLanguageModel):
            top = _stacked(network, arrays, masks, state, row)
        logits = _decoded(arrays, masks, top)
        logits = logits - logits.max(-1, keepdims=True)
        result.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    return np.stack(result)


def _decoded(
    arrays: dict[str, np.ndarray], masks: dict[str, np.ndarray], top: np.ndarray
) -> np.ndarray:
    """Logits (B, V) in the order of the tokens."""
    if "softmax.order" not in arrays:
        head = arrays.get("decoder.weight", arrays["embedding.weight"])
        top = _narrowed(arrays, masks, "bottleneck", "bottleneck", top)
        logits: np.ndarray = top @ head.T + arrays["decoder.bias"]
        return logits
    logits = np.full((len(top), V), np.nan)
    start = 0
    for block in range(sum(name.startswith("softmax.blocks.") for name in arrays) // 2):
        read = _narrowed(arrays, masks, f"softmax.narrow.{block}", f"rank:softmax{block}", top)
        weight, bias = (arrays[f"softmax.blocks.{block}.{part}"] for part in ("weight", "bias"))
        for row in range(len(weight)):
            token = int(arrays["softmax.order"][start + row])
            logits[:, token] = read @ weight[row] + bias[row]
        start += len(weight)
    return logits


def _narrowed(
    arrays: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    name: str,
    axis: str,
    values: np.ndarray,
) -> np.ndarray:
    """Values through a narrow layer; without one, the values themselves."""
    if f"{name}.weight" not in arrays:
        return values
    narrow: np.ndarray = values @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
    return narrow * masks[axis]


def _stacked(
    network: GruLanguageModel | LstmLanguageModel,
    arrays: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    row: np.ndarray,
) -> np.ndarray:
    units = network.spec.units
    last = f"units:{network.cell}{len(units) - 1}"
    x = arrays["embedding.weight"][row] * masks["embedding" if "embedding" in masks else last]
    for k, size in enumerate(units):
        prefix = f"layers.{k}."
        h = state.get(f"h{k}", np.zeros((len(row), size)))
        rank = f"rank:{network.cell}{k}"
        x = _narrowed(arrays, masks, prefix + "narrow_ih", f"{rank}.input", x)
        own = _narrowed(arrays, masks, prefix + "narrow_hh", f"{rank}.recurrent", h)
        inward = x @ arrays[prefix + "weight_ih_l0"].T + arrays[prefix + "bias_ih_l0"]
        across = own @ arrays[prefix + "weight_hh_l0"].T + arrays[prefix + "bias_hh_l0"]
        if isinstance(network, GruLanguageModel):
            (ri, zi, ni), (rh, zh, nh) = np.split(inward, 3, axis=1), np.split(across, 3, axis=1)
            z = sigmoid(zi + zh)
            h = (1 - z) * np.tanh(ni + sigmoid(ri + rh) * nh) + z * h
        else:
            i, f, g, o = np.split(inward + across, 4, axis=1)
            c = state.get(f"c{k}", np.zeros((len(row), size)))
            state[f"c{k}"] = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(state[f"c{k}"])
        x = state[f"h{k}"] = h * masks[f"units:{network.cell}{k}"]
    return x


def _highway(
    network: RhnLanguageModel,
    arrays: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    row: np.ndarray,
) -> np.ndarray:
    width, mask = network.spec.width, masks["units:rhn"]
    x = arrays["embedding.weight"][row] * masks.get("embedding", mask)
    s = state.get("s", np.zeros((len(row), width)))
    for depth in range(network.spec.depth):
        weight, bias = (
            arrays[f"highway.depths.{depth}.weight"],
            arrays[f"highway.depths.{depth}.bias"],
        )
        read = arrays["highway.input.weight"]
        h, t = weight[:width] @ s.T, weight[width:] @ s.T  # (W, B)
        if depth == 0:
            h, t = h + read[:width] @ x.T, t + read[width:] @ x.T
        h, t = np.tanh(h.T + bias[:width]), sigmoid(t.T + bias[width:])
        s = (h * t + s * (1 - t)) * mask
    state["s"] = s
    return s
