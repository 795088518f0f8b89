"""Structural pruners of other tools, on a model of `plain`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.plain import PlainLanguageModel, arrays_of, from_arrays


def torch_ao(model: PlainLanguageModel, share: float) -> PlainLanguageModel:
    """Removes a share of the units of every layer with the LSTM pruner of `torch.ao`.

    Its masks are chosen for each gate and matrix by themselves, and it leaves the input columns of
    upper layers by the recurrent mask; shapes fit, so it is taken as it is.

    Args:
        model: not changed.
        share: of units, 0 to 1.
    """
    from torch.ao.pruning._experimental import pruner as of_torch

    kind: Any = vars(of_torch)["LSTMSaliencyPruner"]  # it has no types
    pruner = kind({"sparsity_level": share})
    names = [
        {"tensor_fqn": f"lstm.weight_{part}_l{layer}"}
        for layer in range(model.lstm.num_layers)
        for part in ("ih", "hh")
    ]
    pruner.prepare(copy.deepcopy(model), names)
    pruner.enable_mask_update = True
    pruner.step()
    pruned = pruner.prune()
    lstm, decoder = pruned.get_submodule("lstm"), pruned.get_submodule("decoder")
    arrays: dict[str, NDArray[np.float32]] = arrays_of(model)
    arrays |= {
        f"lstm.{name}": getattr(lstm, name).numpy(force=True)
        for name in (each.removeprefix("lstm.") for each in arrays if each.startswith("lstm."))
    }
    arrays["decoder.weight"] = decoder.weight.numpy(force=True)
    return from_arrays(arrays)
