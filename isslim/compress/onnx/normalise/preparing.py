"""An uploaded graph as one file that ONNX Runtime can run: float32, layout=0, no data file.

Most files already are, and are used unchanged. To be run in a child process
with limits on memory and time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from isslim.compress.onnx.model.attributes import get_int
from isslim.compress.onnx.model.external_data import MAX_BYTES, load_external, refuse_external
from isslim.compress.onnx.model.recurrent import view
from isslim.compress.onnx.model.split_model import (
    graphs,
    merge_constants,
    nodes,
    sort_nodes,
    split_constants,
)
from isslim.compress.onnx.normalise.functions import inlined
from isslim.compress.onnx.normalise.normal_form import steps_first
from isslim.compress.onnx.normalise.onnx_reader import parse
from isslim.compress.onnx.normalise.precision import other_precisions, to_float32
from isslim.compress.onnx.normalise.refusals import refuse_odd_tensors


@dataclass(frozen=True)
class PreparedGraph:
    """A graph in one file.

    Attributes:
        path: of the file: the uploaded one, or one beside it.
        changes: descriptions of what was changed, if anything.
        warning: a clause about numbers that take more bytes here than in the upload; empty if none
            do.
    """

    path: Path
    changes: str = ""
    warning: str = ""


def prepare(path: Path, data: Path | None = None, largest: int = MAX_BYTES) -> PreparedGraph:
    """Converts an uploaded graph to one file.

    Args:
        path: of the model.
        data: the file of its tensors, if one was sent.
        largest: bytes that the model may have.

    Returns:
        The file, in the model's folder where it is not the model itself.

    Raises:
        UnreadableUpload: when the file is too large, no ONNX model, or has a tensor that is none.
        GraphNotUnderstood: when it refers to tensors that were not sent or do not lie in what was
            sent, or cannot be widened.
    """
    model = parse(path, largest)
    changes, remark = _Changes(), ""
    if data is not None:
        count = load_external(model, data)
        remark = "" if count else "the data file is not referred to: ignored"
        changes.add(count > 0, f"{count} tensors taken in from its data file")
    refuse_external(model)
    refuse_odd_tensors(model)
    # Types and layers inside of functions are visible only once these are inlined.
    model = inlined(model)
    warning = _widened(model, changes)
    moved = [sort_nodes(graph) for graph in graphs(model.graph)]  # every one, before any is asked
    changes.add(any(moved), "nodes that lay behind their readers put before them")
    if any(get_int(node, "layout", 0) for node in nodes(model.graph) if view(node)):
        parts = split_constants(model)
        steps_first(parts)
        model = merge_constants(parts)
        changes.add(
            True, "layers with layout=1, which ONNX Runtime does not run, put between Transposes"
        )
    description = "; ".join([*filter(None, [remark]), *changes.made])
    # The file itself is kept where possible, so that what is served is what was uploaded.
    if not changes.made:
        return PreparedGraph(path, description)
    whole_file = path.with_name(f"{path.name}.prepared.onnx")
    whole_file.write_bytes(model.SerializeToString())
    return PreparedGraph(whole_file, description, warning)


@dataclass
class _Changes:
    """The changes made to a model, in words."""

    made: list[str] = field(default_factory=list)

    def add(self, happened: bool, description: str) -> None:
        """Records a change, if there was one.

        Args:
            happened: whether there was.
            description: what was done, in words.
        """
        if happened:
            self.made.append(description)


def _widened(model: ModelProto, changes: _Changes) -> str:
    """Makes a model compute in float32; in place. A warning where it takes more bytes now."""
    others = other_precisions(model)
    if not others:
        return ""
    before = model.ByteSize()
    to_float32(model, others)
    kinds, after = " and ".join(others.values()), model.ByteSize()
    changes.add(
        True, f"{kinds} inside, computed in float32 here ({before:,} bytes became {after:,})"
    )
    if before >= after:
        return ""
    return (
        f"the uploaded graph takes {before / 1e3:,.1f} kB with numbers in {kinds}; `original` is "
        f"the same graph in float32, {after / 1e3:,.1f} kB, and that is what sizes are compared "
        "with"
    )
