"""The card's sections on what was removed or left alone, and on the work of each part."""

from __future__ import annotations

from isslim.card.markdown import table
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import Manifest, PartRecord, VariantRecord
from isslim.types.report import Report
from isslim.types.wording import axis_name, directions_left, is_narrow

_NARROW = (
    "A narrow layer stands before a matrix, which then reads so many directions, combinations of "
    "units, in place of all; it removes no unit. Two small matrices replace a large one, chosen by "
    "what its readers lose on the calibration data."
)


def structure_section(manifest: Manifest) -> str:
    """Every part before and after: its units and parameters."""
    before, after = _pair(manifest)
    rows = [
        [
            new.name,
            *(
                (_width(old), _width(new), _less(old.width, new.width))
                if new.width and not _is_narrow(new)
                else ("", "", "")
            ),
            *(f"{old.parameters:,}", f"{new.parameters:,}", _less(old.parameters, new.parameters)),
        ]
        for old, new in _sides(before, after)
    ]
    rows += _together(before, after)
    old_all, new_all = before.parameters, after.parameters
    rows.append(["**all**", "", "", "", f"{old_all:,}", f"{new_all:,}", _less(old_all, new_all)])
    head = ["part", "units before", "after", "removed", "parameters before", "after", "removed"]
    text = f"## What was removed\n\n{table(head, rows)}"
    if units_note := kind_named(manifest.task).units_note:
        text += f"\n\n{units_note}"
    if before.tied:
        text += " Embedding and softmax share one matrix, which is counted once, as embedding."
    return text + _narrow_layers(before, after)


def _is_narrow(part: PartRecord) -> bool:
    return part.axis is not None and is_narrow(part.axis)


def _narrow_layers(before: VariantRecord, after: VariantRecord) -> str:
    """A table of what is read through fewer directions; empty where nothing is."""
    found = directions_left(before.sizes, after.sizes)
    if not found:
        return ""
    rows = [
        [axis_name(axis), "" if old is None else f"{old:,}", f"{new:,}", _less(old or 0, new)]
        for axis, (old, new) in found.items()
    ]
    head = ["read through a narrow layer", "directions before", "after", "removed"]
    return f"\n\n{table(head, rows)}\n\n{_NARROW}"


def _sides(before: VariantRecord, after: VariantRecord) -> list[tuple[PartRecord, PartRecord]]:
    """Every part of the compressed model with its original, which is empty for an inserted part."""
    known = {part.name: part for part in before.parts}
    return [
        (known.get(new.name, PartRecord(name=new.name, width=0, parameters=0, mult_adds=0)), new)
        for new in after.parts
    ]


def _width(part: PartRecord) -> str:
    """Its units; for a bidirectional layer also those of each direction."""
    return f"{part.width:,}" + (
        f" ({' + '.join(map(str, part.directions))})" if part.directions else ""
    )


def _together(before: VariantRecord, after: VariantRecord) -> list[list[str]]:
    """A row on all bidirectional layers together; none where there are none."""
    old, new = ([part for part in variant.parts if part.directions] for variant in (before, after))
    if not old:
        return []
    units, parameters = (
        [sum(getattr(part, what) for part in some) for some in (old, new)]
        for what in ("width", "parameters")
    )
    cells = [
        cell
        for one, other in (units, parameters)
        for cell in (f"{one:,}", f"{other:,}", _less(one, other))
    ]
    return [["**all LSTMs**", *cells]]


def left_alone_section(report: Report) -> list[str]:
    """What could not shrink, and why, and what was noticed; empty where there is neither."""
    if not report.notes:
        return []
    listed = "\n".join(f"- {note}" for note in report.notes)
    return [f"## What was left alone, and what was noticed\n\n{listed}"]


def work_section(manifest: Manifest) -> str:
    """Every part's multiply-adds before and after."""
    before, after = _pair(manifest)
    rows = [
        [
            new.name,
            *(f"{old.mult_adds:,}", f"{old.mult_adds / before.mult_adds:.0%}"),
            *(f"{new.mult_adds:,}", f"{new.mult_adds / after.mult_adds:.0%}"),
            _less(old.mult_adds, new.mult_adds),
        ]
        for old, new in _sides(before, after)
    ]
    old_all, new_all = before.mult_adds, after.mult_adds
    rows.append(
        ["**all**", f"{old_all:,}", "100%", f"{new_all:,}", "100%", _less(old_all, new_all)]
    )
    head = ["part", "multiply-adds before", "share", "after", "share", "removed"]
    kind = kind_named(manifest.task)
    return (
        f"## Where the work goes\n\n{table(head, rows)}\n\n"
        f"Multiply-adds of one {kind.step}: work, not time. A large matrix that has to come from "
        "memory takes longer than its share, a small one leaves the processor idle, and a look-up "
        "costs none; what all of it takes on the clock is measured in the next section."
        f"{kind.uncounted}"
    )


def _less(before: int, after: int) -> str:
    return f"{1 - after / before:.0%}" if before else "-"


def _pair(manifest: Manifest) -> tuple[VariantRecord, VariantRecord]:
    """The original and a compressed variant: the same structure, whatever its precision."""
    compressed = next(
        variant for variant in manifest.variants if variant.name.startswith("compressed")
    )
    return manifest.variants[0], compressed
