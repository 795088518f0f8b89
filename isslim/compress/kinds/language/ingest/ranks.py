"""The layout of this project's own LSTMs and GRUs with narrow layers, or a decoder in blocks.

There is no common form of such checkpoints. So only the exact names are taken that a bundle's
`compressed.safetensors` has: `layers.<i>.narrow_ih` and `.narrow_hh` before the matrices of a
layer, `softmax.narrow.<b>`, `softmax.blocks.<b>` and `softmax.order` in place of the decoder.

Legend: V vocabulary, E embedding width, H units, I inputs of a layer, K width of a narrow layer,
V_b rows of a block.
"""

from __future__ import annotations

import re

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.kinds.language.ingest.own_names import Floats, TyingUnknown, is_tied
from isslim.compress.kinds.language.networks.gru import GruLanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel
from isslim.compress.kinds.language.networks.names import DECODER_WEIGHT, EMBEDDING_WEIGHT
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel
from isslim.compress.kinds.language.networks.stacked_axes import declare_stack
from isslim.compress.kinds.language.networks.stacked_spec import StackedSpec, sizes_of
from isslim.compress.pruning.axes import AxisMismatch
from isslim.compress.pruning.blocks import ORDER
from isslim.types.wording import axis_name

EXPECTED = (
    "embedding.weight (V, E); of each layer layers.<i>.weight_ih_l0 (gates H, I), .weight_hh_l0 "
    "(gates H, H), .bias_ih_l0 and .bias_hh_l0 (gates H), with layers.<i>.narrow_ih.weight (K, I) "
    "and .bias (K) the former (gates H, K), with layers.<i>.narrow_hh.weight (K, H) and .bias (K) "
    "the latter; decoder.weight unless tied, and decoder.bias, or softmax.blocks.<b>.weight "
    "(V_b, H or K) and .bias (V_b), softmax.narrow.<b>.weight (K, H) and .bias (K), softmax.order "
    "(V)"
)
_OWN = re.compile(
    r"(layers\.\d+\.narrow_[ih]h|softmax\.(narrow|blocks)\.\d+)\.(weight|bias)$|softmax\.order$"
)
_CELLS: dict[int, type[StackedLanguageModel]] = {4: LstmLanguageModel, 3: GruLanguageModel}


def has_ranks(names: set[str]) -> bool:
    """Whether a parameter has a name of a narrow layer or of a decoder in blocks."""
    return any(_OWN.match(name) for name in names)


def recognise_ranks(
    arrays: dict[str, Floats], configured_tied: bool | None, tied_by: str, found: list[str]
) -> tuple[StackedLanguageModel, str]:
    """Explains every parameter as part of a language model with narrow layers or blocks.

    Args:
        arrays: by name, without prefixes.
        configured_tied: whether the config declares it tied; None: it does not say.
        tied_by: where the file itself declares it tied; empty: nowhere.
        found: the parameters in words, for a refusal.

    Returns:
        The network, and what was recognised.

    Raises:
        UnknownArchitecture: when a parameter is missing, left over, or of another shape.
    """
    try:
        kind = _cell(arrays)
        tied = ORDER not in arrays and is_tied(arrays, configured_tied, tied_by)
        if configured_tied and not tied:
            raise TyingUnknown("the config says tied, but the decoder is in blocks")
        plain = {
            name: array for name, array in arrays.items() if not (tied and name == DECODER_WEIGHT)
        }
        spec = sizes_of(plain, kind.spec_type, kind.cell, kind.layer_type, tied=tied)
        declare_stack(spec, kind.cell, kind.layer_type).check(plain)
        network = kind.from_arrays(plain, tied=tied)
    except KeyError as error:
        raise _unknown(f"'{error.args[0]}' is missing", found) from error
    except AxisMismatch as error:
        reason = f"the parameters do not fit together: {'; '.join(error.issues)}"
        raise _unknown(reason, found) from error
    except ValueError as error:
        raise _unknown(str(error), found) from error
    return network, _line(network, spec)


def _cell(arrays: dict[str, Floats]) -> type[StackedLanguageModel]:
    """LSTM or GRU, by the gates of the first layer.

    Raises:
        KeyError: when its parameters are missing.
        ValueError: when it is neither.
    """
    arrays[EMBEDDING_WEIGHT]
    across = arrays["layers.0.weight_hh_l0"]
    rows, units = len(across), arrays.get("layers.0.narrow_hh.weight", across).shape[-1]
    kind = _CELLS.get(rows // units) if units and rows % units == 0 else None
    if kind is None:
        raise ValueError(
            f"layers.0 is neither LSTM nor GRU: weight_hh_l0 has {rows} rows for {units} units, an "
            f"LSTM has {4 * units}, a GRU {3 * units}"
        )
    return kind


def _line(network: StackedLanguageModel, spec: StackedSpec) -> str:
    """A line on what was recognised."""
    declaration, cell = network.declaration(), network.cell.upper()
    plural = "s" if len(spec.units) > 1 else ""
    widths = ", ".join(
        f"{declaration.axes[place.axis]} ({axis_name(place.axis)})" for place in declaration.narrow
    )
    ranks = [f"narrow layers of {widths}"] if widths else []
    blocks = [f"softmax in blocks of {', '.join(map(str, spec.blocks))}"] if spec.blocks else []
    return ", ".join(
        [
            f"this project's own layout: {len(spec.units)} {cell} layer{plural} of "
            f"{' and '.join(map(str, spec.units))} units",
            *ranks,
            *blocks,
            "tied" if spec.tied else "untied",
        ]
    )


def _unknown(reason: str, found: list[str]) -> UnknownArchitecture:
    return UnknownArchitecture(
        f"it has the names of narrow layers, and {reason}. Expected: {EXPECTED}", found
    )
