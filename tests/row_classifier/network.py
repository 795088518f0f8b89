"""The network: `scores = output.weight tanh(hidden.weight x + hidden.bias) + output.bias`.

Legend: N rows, D numbers of a row, H hidden units, C classes.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isslim.compress.export.drawing import model_of, port
from isslim.compress.pruning.axes import (
    Array,
    Arrays,
    InputMatrix,
    NarrowPlace,
    NetworkAxes,
    PreActivation,
    Segment,
)

HIDDEN = "units:hidden"
NAMES = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")


class RowNetwork:
    """A classifier of rows.

    Args:
        arrays: by the names of `NAMES`, of the shapes (H, D), (H,), (C, H) and (C,).
    """

    architecture = "tanh-row-classifier"

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = {name: np.asarray(arrays[name], np.float32) for name in NAMES}

    def arrays(self) -> dict[str, Array]:
        """Copies of the parameters."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def declaration(self) -> NetworkAxes:
        """The hidden units are an axis; the second layer reads them."""
        units, width = self._arrays["hidden.weight"].shape
        classes = len(self._arrays["output.bias"])
        hidden, rows, out = Segment(HIDDEN, units), Segment(None, width), Segment(None, classes)
        return NetworkAxes(
            axes={HIDDEN: units},
            dimensions={
                "hidden.weight": ((hidden,), (rows,)),
                "hidden.bias": ((hidden,),),
                "output.weight": ((out,), (hidden,)),
                "output.bias": ((out,),),
            },
            sites=(
                PreActivation("hidden", (InputMatrix("hidden.weight", ("rows",)),), "hidden.bias"),
                PreActivation(
                    "output", (InputMatrix("output.weight", ("hidden",)),), "output.bias"
                ),
            ),
            produced={},
        )

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """None: no narrow layer is put in."""
        return ()

    def rebuilt(self, arrays: Arrays) -> RowNetwork:
        """A network of other sizes and values."""
        return RowNetwork(arrays)

    def hidden(self, rows: NDArray[np.float32]) -> Array:
        """Hidden units (N, H) of rows (N, D)."""
        weight, bias = self._arrays["hidden.weight"], self._arrays["hidden.bias"]
        units: Array = np.tanh(rows @ weight.T + bias).astype(np.float32)
        return units

    def scores(self, rows: NDArray[np.float32]) -> Array:
        """Scores (N, C) of rows (N, D)."""
        found = self.hidden(rows) @ self._arrays["output.weight"].T + self._arrays["output.bias"]
        return found.astype(np.float32)

    def graph(self) -> onnx.ModelProto:
        """The same as an ONNX graph from `rows` to `scores`."""
        weights = [numpy_helper.from_array(array, name) for name, array in self._arrays.items()]
        nodes = [
            helper.make_node("Gemm", ["rows", *NAMES[:2]], ["sum"], transB=1),
            helper.make_node("Tanh", ["sum"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", *NAMES[2:]], ["scores"], transB=1),
        ]
        width, classes = self._arrays["hidden.weight"].shape[1], len(self._arrays["output.bias"])
        inputs = [port("rows", TensorProto.FLOAT, ["batch", width])]
        outputs = [port("scores", TensorProto.FLOAT, ["batch", classes])]
        return model_of(helper.make_graph(nodes, "rows", inputs, outputs, weights))
