"""Graphs: loops without end, sizes beyond any memory, functions that call themselves, deep ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

Make = Callable[[Path], None]
UNITS, WIDTH = 12, 6
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
ANY = ("a", "b", "c")


def constant(name: str, value: object, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, kind), name)


def layer(more: Sequence[NodeProto] = (), constants: Sequence[TensorProto] = ()) -> ModelProto:
    """An LSTM of 12 units read by a matrix, and nodes between it and the output `y`.

    They read `said` (T, B, 5) and have to give `y`; without any, it is `said` itself.
    """
    draw = np.random.default_rng(0)
    weights = [
        constant("W", draw.normal(size=(1, 4 * UNITS, WIDTH)) / 4),
        constant("R", draw.normal(size=(1, 4 * UNITS, UNITS)) / 4),
        constant("M", draw.normal(size=(UNITS, 5))),
    ]
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R"], ["all"], "lstm", hidden_size=UNITS),
        helper.make_node("Squeeze", ["all", "one"], ["steps"]),
        helper.make_node("MatMul", ["steps", "M"], ["said" if more else "y"]),
        *more,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["steps_", "batch", WIDTH])],
        [helper.make_tensor_value_info("y", FLOAT, ANY)],
        [*weights, constant("one", [1], np.int64), *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(make: Callable[[], ModelProto]) -> Make:
    return lambda path: path.write_bytes(make().SerializeToString()) and None


def one_node(
    kind: str, inputs: Sequence[str], constants: Sequence[TensorProto] = (), **attributes: object
) -> Make:
    """A node between what the layer says and the output."""
    node = helper.make_node(kind, inputs, ["y"], **attributes)
    return written(lambda: layer([node], constants))


def loop_of(trips: int, *, computed: bool = False) -> ModelProto:
    """A Loop around what the layer says, as many times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["value", "value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", INT, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", FLOAT, ANY),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, ANY),
        ],
    )
    before = [helper.make_node("Mul", ["half", "half"], ["trips"])] if computed else []
    number = constant("half", 1 << 31, np.int64) if computed else constant("trips", trips, np.int64)
    node = helper.make_node("Loop", ["trips", "", "said"], ["y"], "around", body=body)
    return layer([*before, node], [number])


def endless() -> ModelProto:
    """A Loop with no count and a condition that stays true."""
    model = loop_of(1)
    node = next(node for node in model.graph.node if node.op_type == "Loop")
    node.input[0] = ""
    node.input[1] = "yes"
    model.graph.initializer.append(constant("yes", True, np.bool_))
    return model


def loops_in_loops(depth: int, trips: int) -> ModelProto:
    """Loops inside of each other: trips^depth steps."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["v0", "v0"], ["n0"]),
        ],
        "body0",
        [
            helper.make_tensor_value_info("number", INT, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v0", FLOAT, ANY),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n0", FLOAT, ANY),
        ],
    )
    for level in range(1, depth):
        body = helper.make_graph(
            [
                helper.make_node("Identity", [f"go{level}"], [f"on{level}"]),
                helper.make_node("Loop", ["trips", "", f"v{level}"], [f"n{level}"], body=body),
            ],
            f"body{level}",
            [
                helper.make_tensor_value_info(f"number{level}", INT, []),
                helper.make_tensor_value_info(f"go{level}", TensorProto.BOOL, []),
                helper.make_tensor_value_info(f"v{level}", FLOAT, ANY),
            ],
            [
                helper.make_tensor_value_info(f"on{level}", TensorProto.BOOL, []),
                helper.make_tensor_value_info(f"n{level}", FLOAT, ANY),
            ],
        )
    node = helper.make_node("Loop", ["trips", "", "said"], ["y"], "around", body=body)
    return layer([node], [constant("trips", trips, np.int64)])


def branches(depth: int) -> ModelProto:
    """Ifs inside of each other."""

    def nested(level: int) -> GraphProto:
        out = helper.make_tensor_value_info(f"r{level}", FLOAT, ANY)
        if level == 0:
            node = helper.make_node("Identity", ["said"], ["r0"])
        else:
            node = helper.make_node(
                "If", ["yes"], [f"r{level}"], then_branch=inner[-1], else_branch=inner[-1]
            )
        return helper.make_graph([node], f"b{level}", [], [out])

    inner: list[GraphProto] = []
    for level in range(depth):
        inner.append(nested(level))
    node = helper.make_node("If", ["yes"], ["y"], then_branch=inner[-1], else_branch=inner[-1])
    return layer([node], [constant("yes", True, np.bool_)])


def functions(body: Callable[[int], Sequence[str]], count: int) -> ModelProto:
    """Functions of which each calls others.

    Args:
        body: names of the functions that a function calls, by its number.
        count: how many there are.
    """
    model = layer([helper.make_node("f0", ["said"], ["y"], domain="own")])
    for number in range(count):
        called = body(number)
        nodes = [
            helper.make_node(name, [f"v{index}"], [f"v{index + 1}"], domain="own")
            for index, name in enumerate(called)
        ] or [helper.make_node("Identity", ["v0"], ["v1"])]
        model.functions.append(
            FunctionProto(
                domain="own",
                name=f"f{number}",
                input=["v0"],
                output=[f"v{max(len(called), 1)}"],
                node=nodes,
                opset_import=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
            )
        )
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def chain(count: int, *, backwards: bool = False, read: bool = True) -> ModelProto:
    """Many nodes one behind the other."""
    names = ["said", *(f"c{number}" for number in range(count - 1)), "y" if read else "z"]
    many = [helper.make_node("Neg", [before], [behind]) for before, behind in pairwise(names)]
    model = layer([*many, *([] if read else [helper.make_node("Neg", ["said"], ["y"])])])
    if backwards:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return model


def many_tensors(count: int) -> ModelProto:
    model = layer()
    model.graph.initializer.extend(constant(f"t{number}", 0.5) for number in range(count))
    return model


def many_inputs(count: int) -> ModelProto:
    model = layer()
    model.graph.input.extend(
        helper.make_tensor_value_info(f"i{number}", FLOAT, [1]) for number in range(count)
    )
    return model


def external(location: str, **more: str) -> ModelProto:
    """The matrix lies in a file beside the model."""
    model = layer()
    tensor = next(each for each in model.graph.initializer if each.name == "M")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def claims(dims: Sequence[int]) -> ModelProto:
    """A constant that claims a shape which its numbers do not have."""
    model = layer()
    tensor = next(each for each in model.graph.initializer if each.name == "M")
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return model


def renamed(name: str) -> ModelProto:
    """A graph whose input is called so."""
    model = layer()
    model.graph.input[0].name = name
    model.graph.node[0].input[0] = name
    return model


def filled(value: float) -> ModelProto:
    model = layer()
    for tensor in model.graph.initializer:
        if tensor.name == "R":
            tensor.CopyFrom(constant("R", np.full((1, 4 * UNITS, UNITS), value)))
    return model


def wide_input(size: int) -> ModelProto:
    """An input that is declared as wide, which random inputs would have to be."""
    model = layer()
    model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [size]))
    model.graph.node.append(helper.make_node("Size", ["more"], ["much"]))
    model.graph.output.append(helper.make_tensor_value_info("much", INT, []))
    return model


def circle() -> ModelProto:
    return layer(
        [
            helper.make_node("Add", ["said", "b"], ["a"]),
            helper.make_node("Neg", ["a"], ["b"]),
            helper.make_node("Neg", ["b"], ["y"]),
        ]
    )


def graph_in_text() -> ModelProto:
    model = layer([helper.make_node("Identity", ["said"], ["y"])])
    node = model.graph.node[-1]
    node.attribute.append(
        AttributeProto(name="graph", type=AttributeProto.STRING, s=b"\xff\xfe" * 1000)
    )
    node.doc_string = "\u202e<script>alert(1)</script>" * 1000
    return model


def npz(arrays: dict[str, bytes], compressed: bool = True) -> Make:
    """An archive of arrays whose contents are written by hand."""

    def make(path: Path) -> None:
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, content in arrays.items():
                archive.writestr(f"{name}.npy", content)

    return make


def npy(shape: tuple[int, ...], kind: str = "<f4", content: bytes = b"") -> bytes:
    """An array's file with any header."""
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def bomb_of_zeros(gib: int) -> Make:
    """Arrays of zeros, a thousandth of their size on disk."""

    def make(path: Path) -> None:
        steps = (1 << 30) // (4 * WIDTH)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for number in range(gib):
                with archive.open(f"{number}/x.npy", "w", force_zip64=True) as file:
                    file.write(npy((steps, 1, WIDTH)))
                    left = steps * 4 * WIDTH
                    while left:
                        part = min(left, 1 << 20)
                        file.write(b"\0" * part)
                        left -= part

    return make


def saved(**arrays: np.ndarray) -> Make:
    def make(path: Path) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path.write_bytes(content.getvalue())

    return make


REPEATED = constant("repeated", [1 << 20, 1 << 20, 1], np.int64)
BIG = constant("big", [1 << 40], np.int64)
GRAPHS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "loop-of-2^62": (written(lambda: loop_of(1 << 62)), ("graph-not-understood",)),
    "loop-of-2^62-computed": (
        written(lambda: loop_of(0, computed=True)),
        ("graph-not-understood",),
    ),
    "loop-of-a-billion": (written(lambda: loop_of(10**9)), ("graph-not-understood",)),
    "loop-without-end": (written(endless), ("graph-not-understood", "reading-too-long")),
    "loops-in-loops": (
        written(lambda: loops_in_loops(8, 1000)),
        ("graph-not-understood", "reading-too-long"),
    ),
    "branches-in-branches": (written(lambda: branches(10)), ("",)),
    "branches-too-deep": (written(lambda: branches(16)), ("reading-too-long",)),
    "function-that-calls-itself": (
        written(lambda: functions(lambda _: ["f0"], 1)),
        ("graph-not-understood",),
    ),
    "functions-that-call-each-other": (
        written(lambda: functions(lambda n: [f"f{(n + 1) % 3}"], 3)),
        ("graph-not-understood",),
    ),
    "functions-that-double": (
        written(lambda: functions(lambda n: [f"f{n + 1}"] * 2 if n < 40 else [], 41)),
        ("graph-not-understood",),
    ),
    "functions-in-a-chain": (
        written(lambda: functions(lambda n: [f"f{n + 1}"] if n < 5000 else [], 5001)),
        ("graph-not-understood",),
    ),
    "tile-to-2^40": (one_node("Tile", ["said", "repeated"], [REPEATED]), ("inputs-unusable",)),
    "expand-to-2^40": (
        one_node("Expand", ["said", "repeated"], [REPEATED]),
        ("inputs-unusable", "reading-too-large"),
    ),
    "constant-of-2^40": (
        written(
            lambda: layer(
                [
                    helper.make_node("ConstantOfShape", ["big"], ["much"]),
                    helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
                    helper.make_node("Add", ["said", "sum"], ["y"]),
                ],
                [BIG],
            )
        ),
        ("inputs-unusable", "reading-too-large"),
    ),
    "range-of-2^40": (
        written(
            lambda: layer(
                [
                    helper.make_node("Range", ["zero", "last", "step"], ["much"]),
                    helper.make_node("ReduceMax", ["much"], ["top"], keepdims=0),
                    helper.make_node("Cast", ["top"], ["number"], to=FLOAT),
                    helper.make_node("Add", ["said", "number"], ["y"]),
                ],
                [
                    constant("zero", 0, np.int64),
                    constant("last", 1 << 40, np.int64),
                    constant("step", 1, np.int64),
                ],
            )
        ),
        ("inputs-unusable", "reading-too-large", "reading-too-long"),
    ),
    "pad-by-2^40": (
        one_node("Pad", ["said", "pads"], [constant("pads", [0, 0, 0, 1 << 40, 0, 0], np.int64)]),
        ("inputs-unusable", "reading-too-large"),
    ),
    "one-hot-of-2^30": (
        written(
            lambda: layer(
                [
                    helper.make_node("Cast", ["said"], ["ids"], to=INT),
                    helper.make_node("OneHot", ["ids", "depth", "offon"], ["hot"]),
                    helper.make_node("ReduceSum", ["hot"], ["y"], keepdims=0),
                ],
                [constant("depth", 1 << 30, np.int64), constant("offon", [0, 1])],
            )
        ),
        ("inputs-unusable", "reading-too-large"),
    ),
    "input-of-2^40": (
        written(lambda: wide_input(1 << 40)),
        ("inputs-unusable", "graph-not-understood", "reading-too-large"),
    ),
    "constant-that-claims-2^40": (
        written(lambda: claims([1 << 20, 1 << 20])),
        ("unreadable-upload", "graph-not-understood"),
    ),
    "constant-of-minus-one": (
        written(lambda: claims([-1, 5])),
        ("unreadable-upload", "graph-not-understood"),
    ),
    "constant-of-2^62-by-4": (
        written(lambda: claims([1 << 62, 4])),
        ("unreadable-upload", "graph-not-understood"),
    ),
    "200000-tensors": (written(lambda: many_tensors(200_000)), ("graph-not-understood",)),
    "5000-inputs": (written(lambda: many_inputs(5000)), ("inputs-unusable",)),
    "chain-of-3000": (written(lambda: chain(3000)), ("",)),
    "chain-of-3000-backwards": (
        written(lambda: chain(3000, backwards=True)),
        ("",),
    ),
    "chain-of-3000-that-nobody-reads": (written(lambda: chain(3000, read=False)), ("",)),
    "circle": (written(circle), ("unreadable-upload", "graph-not-understood", "inputs-unusable")),
    "data-in-etc": (written(lambda: external("/etc/hostname")), ("graph-not-understood",)),
    "data-above": (written(lambda: external("../../secret")), ("graph-not-understood",)),
    "data-of-2^62": (
        written(lambda: external("data", offset=str(1 << 62), length="240")),
        ("graph-not-understood",),
    ),
    "name-of-a-million-letters": (written(lambda: renamed("x" * 1_000_000)), ("inputs-unusable",)),
    "name-with-markup": (
        written(lambda: renamed("\u202e<script>\0javascript:")),
        ("inputs-unusable",),
    ),
    "texts-that-are-none": (
        written(graph_in_text),
        ("unreadable-upload", "graph-not-understood", "inputs-unusable"),
    ),
    "weights-of-nan": (
        written(lambda: filled(np.nan)),
        ("bad-weights", "outputs-unusable", "inputs-unusable", "graph-not-understood"),
    ),
    "weights-of-1e38": (
        written(lambda: filled(1e38)),
        ("", "outputs-unusable", "inputs-unusable", "nothing-to-evaluate"),
    ),
    "denormal-weights": (written(lambda: filled(1e-42)), ("",)),
    "cut": (
        lambda path: path.write_bytes(layer().SerializeToString()[:-100]) and None,
        ("unreadable-upload",),
    ),
    "name-that-is-no-text": (
        lambda path: (
            path.write_bytes(layer().SerializeToString().replace(b"steps_", b"ste\x80s_")) and None
        ),
        ("unreadable-upload",),
    ),
    "deep-messages": (
        lambda path: path.write_bytes(b"\x08\x08" + _deep(3000)) and None,
        ("unreadable-upload",),
    ),
    "length-of-2^31": (
        lambda path: path.write_bytes(b"\x08\x08\x3a\xff\xff\xff\xff\x07") and None,
        ("unreadable-upload",),
    ),
}
"""By name: who writes the model's file, and the refusals that may come; empty: understood."""


def _deep(depth: int) -> bytes:
    """Graphs in attributes of nodes in graphs, of lengths that all fit."""
    content = b""
    for _ in range(depth):
        for tag in (0x32, 0x2A, 0x0A):  # attribute.g, node.attribute, graph.node
            content = bytes([tag]) + _varint(len(content)) + content
    return b"\x3a" + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


USUAL = np.zeros((3, 1, WIDTH), np.float32)
RUNS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "6-gib-of-zeros": (bomb_of_zeros(6), ("inputs-unusable",)),
    "3-gib-of-zeros": (bomb_of_zeros(3), ("inputs-unusable",)),
    "header-of-2^40": (npz({"x": npy((1 << 40, 1, WIDTH))}), ("inputs-unusable",)),
    "header-of-minus-one": (npz({"x": npy((-1, 1, WIDTH))}), ("inputs-unusable",)),
    "header-of-no-size-times-2^62": (
        npz({"x": npy((0, 1 << 62, 1 << 62))}),
        ("inputs-unusable",),
    ),
    "header-of-objects": (npz({"x": npy((1,), "|O", b"cos\nsystem\n.")}), ("inputs-unusable",)),
    "header-of-deep-brackets": (
        npz({"x": b"\x93NUMPY\x02\x00" + (100_000).to_bytes(4, "little") + b"(" * 100_000}),
        ("inputs-unusable",),
    ),
    "header-of-a-gib": (
        npz({"x": b"\x93NUMPY\x02\x00" + (1 << 30).to_bytes(4, "little") + b" " * (64 << 20)}),
        ("inputs-unusable",),
    ),
    "100000-arrays": (
        npz({f"{n}/x": npy((1, 1, WIDTH), content=b"\0" * 24) for n in range(100_000)}),
        ("nothing-to-evaluate",),  # they are all equal
    ),
    "run-of-9999-digits": (
        npz({"9" * 9999 + "/x": npy((1, 1, WIDTH), content=b"\0" * 24)}),
        ("inputs-unusable",),
    ),
    "of-nan": (saved(x=USUAL * np.nan), ("inputs-unusable",)),
    "of-no-steps": (saved(x=USUAL[:0]), ("inputs-unusable",)),
    "of-texts": (saved(x=np.array(["a\0b", "\u202e"])), ("inputs-unusable",)),
    "paths-that-leave": (npz({"../../x": npy((1,), content=b"\0" * 4)}), ("inputs-unusable",)),
    "no-zip": (lambda path: path.write_bytes(b"PK\x03\x04" * 100) and None, ("inputs-unusable",)),
}
"""Recorded inputs of a small graph."""
