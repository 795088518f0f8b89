"""The proofs of a graph: a cut one equals the uploaded one with its removed units at zero, and a file equals what it was made of.

Of the outputs only those are compared that are the same whenever the original runs; see `choosing`.
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
PROVEN = 4


@dataclass(frozen=True)
class Prover:
    """What is compared.

    Attributes:
        runs: some of the held-out ones.
        names: of the outputs.
        outputs_description: the outputs in words.
    """

    runs: list[NamedArrays]
    names: list[str]
    outputs_description: str

    @classmethod
    def of(cls, runs: Sequence[NamedArrays], names: Sequence[str], outputs: int) -> Prover:
        """On some of the runs, spread over all: neighbours may all go through one branch of the graph.

        Args:
            runs: the held-out ones.
            names: of the outputs that are compared.
            outputs: how many the graph has.
        """
        index = sorted({round(each) for each in np.linspace(0, len(runs) - 1, PROVEN)})
        description = "all outputs" if len(names) == outputs else f"the outputs {', '.join(names)}"
        return cls([runs[each] for each in index], list(names), description)

    def removal(self, before: GraphNetwork, pruned: Pruned) -> CheckRecord:
        """The cut graph against the uploaded one with the removed units held at zero, and repaired against its algebra.

        States that the caller gives may hold something for a removed unit: in both references that
        is silenced as well.

        Raises:
            VerificationFailed: when an output differs by more than the tolerance.
        """
        cut, _ = axes.select_components(before.arrays(), before.declaration(), pruned.keep)
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
        return _checked(
            "cut graph = uploaded graph with removed units at zero",
            f"{self._on}, before repair and after it",
            max(errors),
        )

    def export(
        self, path: Path, network: GraphNetwork, name: str, *, uploaded: bool
    ) -> CheckRecord:
        """The file passes ONNX's checker, and ONNX Runtime's optimised run equals a plain one of the graph in memory.

        Args:
            path: the file.
            network: what it was made of.
            name: of the variant.
            uploaded: it is the file of somebody else, which is not looked through in every detail.

        Raises:
            VerificationFailed: when the checker refuses it, or an output differs by more than the
                tolerance.
        """
        try:
            onnx.checker.check_model(path, full_check=not uploaded)
        except onnx.checker.ValidationError as error:
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
        """On what is compared, in words."""
        return f"{self.outputs_description} of {len(self.runs)} {'run' if len(self.runs) == 1 else 'runs'}"

    def _outputs(self, model: onnx.ModelProto) -> list[Outputs]:
        """What a graph in memory makes of the runs."""
        with temporary_session(with_wide_outputs(model)) as graph:
            return outputs_of(graph, self.runs, self.names)


def _checked(name: str, detail: str, error: float) -> CheckRecord:
    if not error <= TOLERANCE:
        raise VerificationFailed(
            f"{name}: the largest difference is {error:.2e}, the tolerance {TOLERANCE:.0e}; "
            "nothing was published"
        )
    return CheckRecord(name=name, detail=detail, error=error, tolerance=TOLERANCE)
