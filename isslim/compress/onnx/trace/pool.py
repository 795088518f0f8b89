"""The axes of a graph: which are one, which must stay as they are and why, which share a size.

Axes that meet element by element are one (`unite`); what must hold for one of them then holds for
all. Axes that lie in one tensor side by side keep their own components but share a size
(`same_size`).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PinReason:
    """Why an axis is left alone.

    Attributes:
        text: in words.
        path: the operators from the recurrent layer to where it met the obstacle.
    """

    text: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text} ({' -> '.join(self.path)})" if self.path else self.text


@dataclass
class _Entry:
    name: str
    size: int
    recurrent: bool
    parent: int
    tied: int
    offered: bool = False
    reasons: list[PinReason] = field(default_factory=list)
    parts: tuple[int, ...] = ()


class Axes:
    """All axes as they can be read, by number in the order of their birth."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def find(self, axis: int) -> int:
        """The first of all axes that are one with this."""
        # No path is compressed: a graph has some hundreds of axes, and few of them ever meet.
        while self._entries[axis].parent != axis:
            axis = self._entries[axis].parent
        return axis

    def parts(self, axis: int) -> tuple[int, ...]:
        """The axes into which one was divided; of others, none."""
        return self._entries[self.find(axis)].parts

    def size(self, axis: int) -> int:
        """Number of components."""
        return self._entries[axis].size

    def count(self) -> int:
        """How many axes there are."""
        return len(self._entries)

    def name(self, axis: int) -> str:
        """Of the first recurrent axis among those that are one, or else of the first of them."""
        return self._entries[self.find(axis)].name

    def is_recurrent(self, axis: int) -> bool:
        """Whether units of a recurrent layer are among those that are one with it."""
        return self._entries[self.find(axis)].recurrent

    def reasons(self, axis: int) -> list[PinReason]:
        """Why it is left alone; empty: it is not."""
        return self._entries[self.find(axis)].reasons

    def is_prunable(self, axis: int) -> bool:
        """Whether components may be removed: of no axis that is not `is_removable`."""
        return self.is_removable(axis) and not self.reasons(axis) and self.size(axis) > 1

    def is_removable(self, axis: int) -> bool:
        """Whether components would be removed if there were no reason against it.

        Of axes that begin at matrices only, not of all: see `AxisUnionFind.offer`.
        """
        entry = self._entries[self.find(axis)]
        return entry.recurrent or entry.offered

    def groups(self) -> list[list[int]]:
        """Prunable axes, one of each that are one, in groups that share a size."""
        found: dict[int, list[int]] = {}
        for axis, entry in enumerate(self._entries):
            if entry.parent == axis and self.is_prunable(axis):
                found.setdefault(self._tied(axis), []).append(axis)
        return list(found.values())

    def members(self) -> list[list[str]]:
        """Names of removable axes that are one, each list beginning with the name of the whole.

        With units among them only the names of units.
        """
        found: dict[int, list[str]] = {}
        for axis, entry in enumerate(self._entries):
            if self.is_removable(axis):
                names = found.setdefault(self.find(axis), [])
                if entry.recurrent == self.is_recurrent(axis) and entry.name not in names:
                    names.append(entry.name)
        return list(found.values())

    def _tied(self, axis: int) -> int:
        """The first of all axes that share a size with this."""
        while self._entries[axis].tied != axis:
            axis = self._entries[axis].tied
        return axis


class AxisUnionFind(Axes):
    """All axes while they are inferred."""

    def new(self, name: str, size: int, *, recurrent: bool) -> int:
        """A new axis.

        Args:
            name: by which a report and an array's declaration call it.
            size: number of components.
            recurrent: whether its components are units of a recurrent layer.

        Returns:
            Its number.
        """
        number = len(self._entries)
        self._entries.append(_Entry(name, size, recurrent, number, number))
        return number

    def unite(self, one: int, other: int) -> None:
        """Two axes are one from now on.

        Args:
            one: the first.
            other: the second, of the same size.
        """
        # The first to be born leads, so that names follow the order of the graph.
        first, second = sorted((self.find(one), self.find(other)))
        if first == second:
            return
        # Whoever shares a size with one shares it with the other now.
        self.same_size(first, second)
        kept, gone = self._entries[first], self._entries[second]
        gone.parent = first
        kept.reasons += gone.reasons
        # The whole goes by the name of units, which a user knows, not by that of a matrix.
        if gone.recurrent and not kept.recurrent:
            kept.name, kept.recurrent = gone.name, True

    def offer(self, axis: int) -> None:
        """Components of an axis that begins at matrices may be removed, as those of a layer may.

        Args:
            axis: any of those that are one, which nothing is united with any more.
        """
        self._entries[self.find(axis)].offered = True

    def same_size(self, one: int, other: int) -> None:
        """Two axes share a size from now on.

        Args:
            one: the first.
            other: the second; which components go is chosen for each by itself.
        """
        first, second = sorted((self._tied(one), self._tied(other)))
        self._entries[second].tied = first

    def divide(self, axis: int, sizes: list[int]) -> None:
        """An axis that no recurrent layer began turns out to be several, one behind the other.

        Args:
            axis: the whole.
            sizes: of the parts, in order.
        """
        whole = self.find(axis)
        entry = self._entries[whole]
        parts = []
        for index, size in enumerate(sizes):
            # What keeps the whole as it is keeps its parts.
            part = self.new(f"{entry.name}:{index}", size, recurrent=False)
            self._entries[part].reasons += entry.reasons
            parts.append(part)
        entry.parts = tuple(parts)

    def pin(self, axis: int, reason: PinReason) -> None:
        """An axis stays as it is.

        Args:
            axis: any of those that are one.
            reason: why; one that was given before is not given twice.
        """
        reasons = self.reasons(axis)
        if reason not in reasons:
            reasons.append(reason)

    def finalize(self) -> None:
        """Axes that share a size with one that stays as it is stay too; so does a single unit."""
        # First, so that those which share a size with a single unit see its reason.
        for axis, entry in enumerate(self._entries):
            if entry.recurrent and entry.size < 2:
                self.pin(axis, PinReason("it has a single unit"))
        tied: dict[int, list[int]] = {}
        for axis in range(len(self._entries)):
            tied.setdefault(self._tied(axis), []).append(axis)
        for group in tied.values():
            self._pin_with_still(group)

    def _pin_with_still(self, group: list[int]) -> None:
        """Pins axes of a group that shares a size, if one of them stays as it is."""
        # Axes that are one have the same reasons anyway.
        if len({self.find(axis) for axis in group}) < 2:
            return
        still = next((axis for axis in group if not self.is_prunable(axis)), None)
        if still is None:
            return
        text = f"it shares its size with '{self.name(still)}', which stays as it is"
        for axis in filter(self.is_prunable, group):
            self.pin(axis, PinReason(text))
