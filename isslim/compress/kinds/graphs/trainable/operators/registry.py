"""All operators by name. A new family of operators is a module that is named here once."""

from __future__ import annotations

from isslim.compress.kinds.graphs.trainable.operators import (
    convolution,
    elementwise,
    moving,
    nested,
    normalising,
    parts,
    products,
    quantized,
    recurrent,
    reducing,
    resizing,
    scattering,
    shapes,
    spectral,
)
from isslim.compress.kinds.graphs.trainable.operators.site import Operator

SUPPORTED: dict[str, Operator] = {
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **moving.OPERATORS,
    **nested.OPERATORS,
    **normalising.OPERATORS,
    **parts.OPERATORS,
    **products.OPERATORS,
    **quantized.OPERATORS,
    **recurrent.OPERATORS,
    **reducing.OPERATORS,
    **resizing.OPERATORS,
    **scattering.OPERATORS,
    **shapes.OPERATORS,
    **spectral.OPERATORS,
}
