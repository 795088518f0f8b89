"""Recognises the recurrent layer that a Loop computes: its cell, its mask, what comes out where.

Where a mask is false a layer keeps its states, and shows its last output again or zeros. Keras
carries the last output as a state of its own, which begins at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from onnx import NodeProto, TensorProto

from isslim.compress.onnx.model.attributes import get_int, subgraphs
from isslim.compress.onnx.model.layouts import Layout
from isslim.compress.onnx.model.split_model import SplitModel, nodes
from isslim.compress.onnx.normalise.cells.counting import RUN, Count, Counting
from isslim.compress.onnx.normalise.cells.forms import Atom, Form, Key, NotACell, Numbers, added
from isslim.compress.onnx.normalise.cells.matching import FoundCell, Step, cell_of
from isslim.compress.onnx.normalise.cells.steps import StepReader

_TRUTHS = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or", "Xor"}
"""Operators whose result is truth values."""
_MOVES = {"Identity", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Slice", "ReverseSequence"}


class Masked(Enum):
    """What stands in the sequence of outputs where the mask is false."""

    NEVER = "there is no mask"
    LAST = "the last output, zeros before the first"
    STATE = "the state, so that the initial one before the first"
    ZEROS = "zeros"


@dataclass(frozen=True)
class FoundLayer:
    """A layer in place of a Loop.

    Attributes:
        cell: its operator and weights.
        sequence: the tensor (T, B, I) that it reads.
        initial: per state of the cell, h then c, its initial value (B, H).
        mask: the truth values (T, B, 1), if there are any.
        states: per output of the Loop that is a state after the last step, which: 0 h, 1 c.
        last: per output (B, H) of the Loop that is what the last step shows, what stands where the
            mask is false.
        outputs: the same per output (T, B, H) of the Loop with what all steps show.
    """

    cell: FoundCell
    sequence: str
    initial: tuple[str, ...]
    mask: str
    states: Mapping[str, int]
    last: Mapping[str, Masked]
    outputs: Mapping[str, Masked]


@dataclass(frozen=True)
class _Carried:
    """A value that a Loop carries from run to run.

    Attributes:
        name: in the body.
        initial: its initial value, around the loop.
        update: its new value, in the body.
        result: the Loop's output after the last run; empty if it has no such.
    """

    name: str
    initial: str
    update: str
    result: str


def recognised(
    parts: SplitModel, node: NodeProto, shapes: Mapping[str, Layout], zeros: set[str]
) -> FoundLayer:
    """The layer that a Loop computes.

    Args:
        parts: the model.
        node: a Loop in it, that carries nothing which it does not change.
        shapes: per value its layout.
        zeros: values that are zero everywhere.

    Raises:
        NotACell: with the reason why there is none.
    """
    return _Recognition(parts, node, shapes, zeros).layer()


class _Recognition:
    def __init__(
        self, parts: SplitModel, node: NodeProto, shapes: Mapping[str, Layout], zeros: set[str]
    ) -> None:
        self._node, self._body, self._zeros = node, subgraphs(node)[0], zeros
        makers = {
            name: each for each in nodes(parts.structure.graph) for name in each.output if name
        }
        run, running = (port.name for port in self._body.input[:2])
        self._counting = Counting(makers, parts.constants, shapes, {run: RUN}, running)
        self._reader = StepReader(self._counting, zeros)
        self._mask: Atom | None = None
        self._read = {name for each in nodes(parts.structure.graph) for name in each.input}
        self._read |= {port.name for port in parts.structure.graph.output}
        self._truths = {
            port.name
            for port in parts.structure.graph.input
            if port.type.tensor_type.elem_type == TensorProto.BOOL
        }
        self._states = self._count_and_enter()

    def layer(self) -> FoundLayer:
        """See `recognised`."""
        updates = [self._reader.form(each.update) for each in self._states]
        shown = {name: self._reader.form(made) for name, made in self._stacked().items()}
        inputs = self._inputs()
        split = [self._split(form) for form in updates]
        entering = [_atom(self._reader.form(each.name)) for each in self._states]
        # A state that no step reads only holds what was shown last.
        used = {atom for _, new in split for atom in _atoms(new)}
        real = [index for index, atom in enumerate(entering) if atom in used]
        cell = cell_of(Step(inputs, [entering[at] for at in real], [split[at][1] for at in real]))
        for at in real:
            masked = split[at][0]
            if masked is not None and masked.atom is not entering[at]:
                raise NotACell("where its mask is false it changes its states")
        order = [real[at] for at in cell.states]
        self._hidden, self._state = split[order[0]][1], entering[order[0]]
        self._held = {entering[at]: each for at, each in enumerate(self._states) if at not in real}
        return FoundLayer(
            cell,
            self._reader.sequences[inputs.name],
            tuple(self._states[at].initial for at in order),
            self._reader.sequences[self._mask.name] if self._mask else "",
            {self._states[at].result: place for place, at in enumerate(order)},
            {
                each.result: self._mode(self._reader.form(each.update))
                for each in self._held.values()
            },
            {name: self._mode(form) for name, form in shown.items()},
        )

    def _count_and_enter(self) -> list[_Carried]:
        """Sorts what is carried into counts, which become known, and states, which enter."""
        body, node = self._body, self._node
        carried = [
            _Carried(
                body.input[at].name, node.input[at], body.output[at - 1].name, node.output[at - 2]
            )
            for at in range(2, len(node.input))
        ]
        states = []
        for each in carried:
            layout = self._counting.shapes.get(each.name) or self._counting.shapes.get(each.initial)
            if layout is not None and layout.rank == 2:
                self._reader.enter(each.name, layout.dims[1])
                states.append(each)
            elif not self._counted(each):
                raise NotACell(f"it carries '{each.name}', which is neither a state nor a count")
        if not states:
            raise NotACell("it carries no state from step to step")
        return states

    def _counted(self, each: _Carried) -> bool:
        """Whether a value counts the runs; if so it is known from now on."""
        first = self._counting.count(each.initial)
        if first is None or first.runs or first.size or each.result in self._read:
            return False
        # As if it were the number of the run plus its first value, which its update has to confirm.
        self._counting.known[each.name] = Count(1, None, first.number)
        return self._counting.count(each.update) == Count(1, None, first.number + 1)

    def _stacked(self) -> dict[str, str]:
        """Per output of the Loop that stacks a value of every run, that value."""
        count = len(self._node.input) - 2
        ports = self._body.output[1 + count :]
        names = self._node.output[count:]
        return {name: port.name for name, port in zip(names, ports, strict=False) if name}

    def _inputs(self) -> Atom:
        """What the cell reads of every step, once the mask is known."""
        steps = {name: _atom(self._reader.form(name)) for name in self._reader.sequences}
        masks = [atom for name, atom in steps.items() if self._is_mask(name)]
        inputs = [atom for name, atom in steps.items() if not self._is_mask(name)]
        if len(inputs) != 1 or len(masks) > 1:
            raise NotACell(f"it reads {len(inputs)} sequences and {len(masks)} masks")
        self._mask = masks[0] if masks else None
        length = self._counting.length(self._reader.sequences[inputs[0].name], 0)
        if not self._counting.runs_as_often(self._node, self._body.output[0].name, length):
            raise NotACell("how often it runs is not shown to be the number of steps")
        return inputs[0]

    def _is_mask(self, name: str) -> bool:
        """Whether a sequence that enters holds one truth value for each step."""
        sequence = self._reader.sequences[name]
        one = self._counting.shapes[sequence].dims[2] == 1
        while sequence in self._counting.makers:
            node = self._counting.makers[sequence]
            if node.op_type in _TRUTHS:
                return one
            if node.op_type == "Cast":
                return one and get_int(node, "to", 0) == TensorProto.BOOL
            if node.op_type not in _MOVES:
                return False
            sequence = node.input[0]
        return one and sequence in self._truths

    def _split(self, form: Form) -> tuple[Form | None, Form]:
        """A form where the mask is false, and where it is true; without a mask None and itself."""
        mask = self._mask
        if mask is None:
            return None, form
        masked: dict[Key, Numbers] = {}
        factors: dict[Key, Numbers] = {}
        for key, coefficient in form.factors.items():
            if mask in key:
                factors[tuple(atom for atom in key if atom is not mask)] = coefficient
            else:
                masked[key] = coefficient
        # Where it is true, 1 takes the mask's place.
        off = Form(form.width, masked, form.matrices)
        return off, added(off, Form(form.width, factors, {}))

    def _mode(self, form: Form) -> Masked:
        """What stands where the mask is false, in what is shown."""
        masked, new = self._split(form)
        if not new.equals(self._hidden):
            raise NotACell("it shows other values than the state of its cell")
        if masked is None:
            return Masked.NEVER
        if masked.atom is self._state:
            return Masked.STATE
        if not masked.factors and not masked.matrices:
            return Masked.ZEROS
        if masked.atom not in self._held:
            raise NotACell("where its mask is false it shows neither zeros nor what was before")
        if self._held[masked.atom].initial not in self._zeros:
            raise NotACell("what it shows before the first step of its mask is not zero")
        return Masked.LAST


def _atom(form: Form) -> Atom:
    """The atom of a value that enters, which is one."""
    atom = form.atom
    if atom is None:
        raise NotACell("a value enters that is constant")
    return atom


def _atoms(form: Form) -> set[Atom]:
    """All atoms that a form is computed of."""
    found: set[Atom] = set()
    for key in (*form.factors, *form.matrices):
        for atom in key:
            found |= {atom} | (_atoms(atom.of) if atom.of is not None else set())
    return found
