"""A network as the stages see it: arrays with named axes."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from isslim.compress.pruning.axes import Array, Arrays, NarrowPlace, NetworkAxes
from isslim.types.manifest import Architecture


class Network(Protocol):
    """The stages' view of any network: arrays with named axes, and how to rebuild it."""

    @property
    def architecture(self) -> Architecture:
        """Its name in a manifest."""

    def arrays(self) -> dict[str, Array]:
        """The parameters by name as float32 arrays (copies)."""

    def declaration(self) -> NetworkAxes:
        """The named axes of the arrays."""

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """Where a narrow layer may be put in that it has not, but for those before its decoder."""

    def rebuilt(self, arrays: Arrays) -> Self:
        """A network of the same architecture with the sizes and values of `arrays`."""


Model = TypeVar("Model", bound=Network)
