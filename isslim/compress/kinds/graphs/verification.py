"""Verification of graphs: a cut graph equals its masked reference, a file the graph in memory.

Only outputs that are deterministic are compared; see `choosing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from isslim.compress.errors import VerificationFailed
from isslim.compress.kinds.graphs.comparing import Outputs, difference
from isslim.compress.kinds.graphs.running import outputs_of, temporary_session
from isslim.compress.onnx.network import GraphNetwork
from isslim.compress.onnx.normalise.precision import with_wide_outputs
from isslim.compress.pruning import axes
from isslim.compress.pruning.ranking import Pruned
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.types.manifest import CheckRecord

TOLERANCE = 1e-4
"""Largest difference of an output, relative to its largest entry where that is above 1: float32
sums in different orders."""
COMPARED_RUNS = 4
"""Runs that are compared."""


@dataclass(frozen=True)
class Verifier:
    """Verifies graphs on recorded runs.

    Attributes:
        runs: some of the held-out runs.
        names: of the outputs that are compared.
        outputs_description: the outputs in words.
    """

    runs: list[NamedArrays]
    names: list[str]
    outputs_description: str

    @classmethod
    def of(cls, runs: Sequence[NamedArrays], names: Sequence[str], outputs: int) -> Verifier:
        """A verifier on some of the runs, spread over all: neighbours may take the same branch.

        Args:
            runs: the held-out runs.
            names: of the outputs that are compared.
            outputs: the number of outputs of the graph.
        """
        index = sorted({round(each) for each in np.linspace(0, len(runs) - 1, COMPARED_RUNS)})
        description = "all outputs" if len(names) == outputs else f"the outputs {', '.join(names)}"
        return cls([runs[each] for each in index], list(names), description)

    def removal(self, before: GraphNetwork, pruned: Pruned) -> CheckRecord:
        """Verifies a removal: the cut graph against the masked reference, before and after repair.

        Initial states that the caller gives may be nonzero for a removed unit; both references mask
        them as well. The second has no narrow layer: a matrix that reads through one is the product
        of both.

        Args:
            before: the graph before the removal.
            pruned: what is kept, the repaired arrays, and their full-size reference.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """
        declaration = before.declaration()
        units = {axis: kept for axis, kept in pruned.keep.items() if axis in declaration.axes}
        cut, _ = axes.select_components(before.arrays(), declaration, units)
        # One graph after the other: of a large one there is hardly room for two.
        errors = [
            difference(
                self._outputs(before.rebuilt(cut).model()),
                self._outputs(before.masked_reference(pruned.keep)),
            ),
            difference(
                self._outputs(before.rebuilt(pruned.arrays).model()),
                self._outputs(before.rebuilt(pruned.reference).masked_reference(pruned.keep)),
            ),
        ]
        narrow = ", narrow layers multiplied out" if pruned.declaration.narrow else ""
        return _checked(
            "cut graph = uploaded graph with removed units at zero",
            f"{self._on}, before repair and after it{narrow}",
            max(errors),
        )

    def export(
        self, path: Path, network: GraphNetwork, name: str, *, uploaded: bool
    ) -> CheckRecord:
        """Verifies a file: by ONNX's checker, and optimised against unoptimised outputs.

        Args:
            path: the file.
            network: the graph in memory that it was written from.
            name: of the variant.
            uploaded: whether it is the uploaded file, whose inferred shapes are not checked.

        Raises:
            VerificationFailed: when the checker refuses it, or an output differs by more than the
                tolerance.
        """
        try:
            onnx.checker.check_model(path)
            if not uploaded:
                _check_shapes(path)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise VerificationFailed(
                f"ONNX's checker refuses {name}: {error}; nothing was published"
            ) from error
        with temporary_session(with_wide_outputs(network.model()), optimized=False) as plain:
            found = difference(
                self._outputs(onnx.load(path)), outputs_of(plain, self.runs, self.names)
            )
        return _checked(f"ONNX Runtime, optimised = as written ({name})", self._on, found)

    @property
    def _on(self) -> str:
        """The compared outputs and runs, in words."""
        count = len(self.runs)
        return f"{self.outputs_description} of {count} {'run' if count == 1 else 'runs'}"

    def _outputs(self, model: onnx.ModelProto) -> list[Outputs]:
        """The outputs of a graph in memory on the runs."""
        with temporary_session(with_wide_outputs(model)) as graph:
            return outputs_of(graph, self.runs, self.names)


def _check_shapes(path: Path) -> None:
    """Infers all shapes of a file; those that it declares for its outputs are the uploaded file's.

    Those may be wrong, which ONNX Runtime only warns of.

    Raises:
        InferenceError: when operators do not fit one another.
    """
    model = onnx.load(path)
    for port in model.graph.output:
        port.type.tensor_type.ClearField("shape")
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _checked(name: str, detail: str, error: float) -> CheckRecord:
    if not error <= TOLERANCE:
        raise VerificationFailed(
            f"{name}: the largest difference is {error:.2e}, the tolerance {TOLERANCE:.0e}; "
            "nothing was published"
        )
    return CheckRecord(name=name, detail=detail, error=error, tolerance=TOLERANCE)
