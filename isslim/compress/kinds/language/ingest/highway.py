"""The layout of this project's own recurrent highway networks (`kinds/language/networks/rhn.py`).

There is no common form of such checkpoints, and shapes alone cannot tell which half of a matrix is
the transform gate. So only these exact names are taken: `embedding.weight`, `highway.input.weight`,
`highway.depths.<d>.weight` and `.bias`, `decoder.bias`, and `decoder.weight` unless tied.

Legend: V vocabulary, E embedding width, W units.
"""

from __future__ import annotations

import re

from isslim.compress.errors import UnknownArchitecture
from isslim.compress.kinds.language.ingest.own_names import Floats, TyingUnknown, is_tied
from isslim.compress.kinds.language.networks.names import DECODER_WEIGHT, EMBEDDING_WEIGHT
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec, declare
from isslim.compress.pruning.axes import AxisMismatch

EXPECTED = (
    "embedding.weight (V, E), highway.input.weight (2W, E), highway.depths.<d>.weight (2W, W) and "
    ".bias (2W) for d from 0 "
    "on, decoder.weight (V, W) unless tied, decoder.bias (V)"
)
_DEPTH = re.compile(r"^highway\.depths\.(\d+)\.weight$")


def is_highway(names: set[str]) -> bool:
    """Whether a parameter has a name of a recurrent highway network."""
    return any(re.match(r"highway\.(input|depths)\.", name) for name in names)


def recognise_highway(
    arrays: dict[str, Floats], configured_tied: bool | None, tied_by: str, found: list[str]
) -> tuple[RhnLanguageModel, str]:
    """Explains every parameter as part of a recurrent highway language model.

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
    depths = [int(match[1]) for match in map(_DEPTH.match, arrays) if match]
    table = arrays.get(EMBEDDING_WEIGHT)
    if table is None or table.ndim != 2 or not depths:
        missing = "'embedding.weight' (V, E)" if depths else "'highway.depths.0.weight' (2W, W)"
        raise _unknown(
            f"it is named like a recurrent highway network, but there is no {missing}", found
        )
    try:
        tied = is_tied(arrays, configured_tied, tied_by)
    except TyingUnknown as error:
        raise _unknown(str(error), found) from error
    plain = {name: array for name, array in arrays.items() if not (tied and name == DECODER_WEIGHT)}
    width, depth = arrays[f"highway.depths.{min(depths)}.weight"].shape[-1], max(depths) + 1
    if depth > len(depths):
        raise _unknown(f"of {depth} depths, {depth - len(depths)} are missing", found)
    spec = RhnSpec(len(table), table.shape[1], width, depth, tied)
    try:
        declare(spec).check(plain)
    except AxisMismatch as error:
        raise _unknown(
            f"the parameters do not fit together: {'; '.join(error.issues)}", found
        ) from error
    kind = (
        f"recurrent highway network layout: depth {depth}, width {width}, "
        f"{'tied' if tied else 'untied'}"
    )
    return RhnLanguageModel.from_arrays(plain, tied=tied), kind


def _unknown(reason: str, found: list[str]) -> UnknownArchitecture:
    return UnknownArchitecture(f"{reason}. Expected: {EXPECTED}", found)
