"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from isslim.compress.kinds.graphs.trainable.operators.site import Operator, Site, Step, plain
from isslim.compress.onnx.model.attributes import get_float, get_int, get_string


def _matrices(site: Site) -> Step:
    """Alpha A B + beta C, with A and B possibly transposed."""
    alpha, beta = (get_float(site.node, name, 1.0) for name in ("alpha", "beta"))
    first, second = (get_int(site.node, name, 0) for name in ("transA", "transB"))

    def step(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = (a.T if first else a) @ (b.T if second else b)
        if alpha != 1.0:
            product = (alpha * product).to(product.dtype)
        if c is None:
            return product
        return product + (c if beta == 1.0 else (beta * c).to(c.dtype))

    return step


def _einsum(site: Site) -> Step:
    equation = get_string(site.node, "equation", "").replace(" ", "")
    return lambda *operands: torch.einsum(equation, *operands)


OPERATORS = {
    **plain({"MatMul": torch.matmul}),
    "Einsum": Operator(_einsum),
    "Gemm": Operator(_matrices),
}
"""By name."""
