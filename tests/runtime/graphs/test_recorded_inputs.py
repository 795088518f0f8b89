"""Graphs of any inputs and outputs run by name, and recorded runs as files."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isslim.runtime.errors import InputsRefused
from isslim.runtime.graphs.recorded_inputs import (
    KINDS,
    GraphSession,
    read_runs,
    split_targets,
    write_runs,
)
from isslim.types.arrays import BadArrays, dump_npz, read_npz

_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(int64)": TensorProto.INT64,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int16)": TensorProto.INT16,
    "tensor(int8)": TensorProto.INT8,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(uint16)": TensorProto.UINT16,
    "tensor(uint32)": TensorProto.UINT32,
    "tensor(uint64)": TensorProto.UINT64,
    "tensor(bool)": TensorProto.BOOL,
    "tensor(string)": TensorProto.STRING,
}


def passing(path: Path, kinds: dict[str, str], shape: list[int | str]) -> GraphSession:
    """A graph that gives back what it gets, under `<name>_out`."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        "passing",
        [helper.make_tensor_value_info(name, _TYPES[kind], shape) for name, kind in kinds.items()],
        [
            helper.make_tensor_value_info(f"{name}_out", _TYPES[kind], shape)
            for name, kind in kinds.items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return GraphSession(path)


def test_every_type_comes_back_as_it_was_from_lists_and_from_a_file(tmp_path: Path) -> None:
    assert set(KINDS) == set(_TYPES)
    names = {f"input{index}": kind for index, kind in enumerate(KINDS)}
    graph = passing(tmp_path / "all.onnx", names, [2, "n"])
    values: dict[str, list[list[Any]]] = {}
    for name, kind in names.items():
        wanted = np.dtype(KINDS[kind])
        if wanted.kind in "iu":
            values[name] = [[int(np.iinfo(wanted).min), 1], [0, int(np.iinfo(wanted).max)]]
        else:
            values[name] = {
                "f": [[0.5, -2.0], [0.0, 1024.0]],
                "b": [[True, False]] * 2,
                "U": [["a", ""], ["é", "中"]],
            }[wanted.kind]
    listed = graph.run(graph.checked(values))
    write_runs(tmp_path / "runs.npz", [graph.checked(values)] * 2)
    stored = [
        graph.run(graph.checked(run)) for run in read_runs((tmp_path / "runs.npz").read_bytes())
    ]
    assert len(stored) == 2
    for name, kind in names.items():
        for outputs in (listed, *stored):
            found = outputs[f"{name}_out"]
            assert found.tolist() == values[name], kind
            assert found.dtype == (np.object_ if kind == "tensor(string)" else KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("tensor(float)", [["a", "b"]], "found texts"),
        ("tensor(float)", [[1.0], [1.0, 2.0]], "unequal lengths"),
        ("tensor(float)", [[None, 1.0]], "found NoneType"),
        ("tensor(float)", [[1e300, 1.0]], "overflow"),
        ("tensor(float)", [[10**400, 1.0]], "too large"),
        ("tensor(float)", np.zeros((1, 2), np.complex64), "found complex64"),
        ("tensor(float)", np.zeros((1, 2), [("a", "<i4")]), "found"),
        ("tensor(float)", [1.0, 2.0], r"has the shape \[2\], the graph reads \[1, 'n'\]"),
        ("tensor(float)", [[1.0], [2.0]], r"has the shape \[2, 1\]"),
        ("tensor(float)", 1.0, r"has the shape \[\]"),
        ("tensor(float)", [[]], "is empty"),
        ("tensor(int64)", [[1.0]], "decimal point"),
        ("tensor(int8)", [[128]], "outside -128 to 127"),
        ("tensor(uint8)", [[-1]], "outside 0 to 255"),
        ("tensor(int64)", [[2**63]], "outside"),
        ("tensor(uint64)", [[2**64]], "too"),
        ("tensor(bool)", [[0.5]], "decimal point"),
        ("tensor(string)", [[1]], "found"),
        ("tensor(string)", [["a", 1]], "found int, str"),
    ],
)
def test_values_of_another_type_or_shape_are_refused(
    kind: str, value: Any, words: str, tmp_path: Path
) -> None:
    graph = passing(tmp_path / "one.onnx", {"x": kind}, [1, "n"])
    with pytest.raises(InputsRefused, match=words):
        graph.checked({"x": value})


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    graph = passing(tmp_path / "three.onnx", dict.fromkeys("abc", "tensor(float)"), [1, "n"])
    with pytest.raises(InputsRefused) as refused:
        graph.checked({"a": [["x"]], "b": [1.0], "d": [[1.0]]})
    assert [issue.split(":")[0].split(" has")[0] for issue in refused.value.issues] == [
        "input 'a' is no tensor(float)",
        "input 'b'",
        "input 'c' is missing",
        "there is no input 'd'",
    ]
    with pytest.raises(
        InputsRefused, match="there is no output 'y'; there is: a_out, b_out, c_out"
    ):
        graph.named(["y"])
    assert graph.named([]) == ["a_out", "b_out", "c_out"]
    assert list(graph.run(graph.checked({name: [[1.0]] for name in "abc"}), ["c_out"])) == ["c_out"]


def test_runs_that_are_not_numbered_are_told_how_to_be(tmp_path: Path) -> None:
    graph = passing(tmp_path / "passing.onnx", {"x": "tensor(float)"}, ["n"])
    (run,) = read_runs(
        dump_npz({"first/x": np.zeros(2, np.float32), "second/x": np.zeros(2, np.float32)})
    )
    with pytest.raises(InputsRefused) as refusal:
        graph.checked(run)
    assert "'0/<input>', '1/<input>'" in refusal.value.issues[0]
    assert refusal.value.issues[-1] == "there is no input 'second/x'"


def test_one_long_text_does_not_widen_the_others(tmp_path: Path) -> None:
    graph = passing(tmp_path / "texts.onnx", {"x": "tensor(string)"}, [1, "n"])
    value = [["x" * 1_000_000, *("y" for _ in range(100_000))]]  # 400 GB as numpy's own texts
    assert graph.run(graph.checked({"x": value}))["x_out"].tolist() == value


def test_runs_come_in_order_and_in_both_forms(tmp_path: Path) -> None:
    runs = [
        {"x": np.full((2, 2), index, np.float32), "a/b": np.arange(index + 1)}
        for index in range(12)
    ]
    write_runs(tmp_path / "runs.npz", runs)
    for content in (
        (tmp_path / "runs.npz").read_bytes(),
        dump_npz({f"{i}/{k}": a for i, r in enumerate(runs) for k, a in r.items()}),
    ):
        found = read_runs(content)
        assert [list(run) for run in found] == [["x", "a/b"]] * 12
        assert all(
            np.array_equal(one[name], other[name])
            for one, other in zip(found, runs, strict=True)
            for name in one
        )
    (single,) = read_runs(dump_npz({"x": runs[3]["x"], "a/b": runs[3]["a/b"]}))
    assert list(single) == ["x", "a/b"]
    np.savez_compressed(tmp_path / "numpys.npz", x=runs[1]["x"])
    (packed,) = read_runs((tmp_path / "numpys.npz").read_bytes())
    assert np.array_equal(packed["x"], runs[1]["x"])


def test_file_of_more_than_is_allowed_is_refused_before_it_is_read() -> None:
    content = dump_npz({"x": np.zeros(1000, np.float64)})
    assert read_npz(content, 9000)["x"].shape == (1000,)
    with pytest.raises(BadArrays, match="at most 7,000"):
        read_npz(content, 7000)
    with pytest.raises(InputsRefused, match="at most 7,000"):
        read_runs(content, 7000)


def test_names_of_all_kinds_are_kept() -> None:
    names = ["file", "args", "allow_pickle", "x.npy", "a/b", "", "é", "../up", "onnx::MatMul_3"]
    assert list(read_npz(dump_npz({name: np.ones(1) for name in names}))) == names


def zipped(*entries: tuple[str, np.ndarray]) -> bytes:
    """An npz by numpy itself, of arrays that may have one name and hold anything."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in entries:
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array)
    return content.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_would_hide_another_is_refused() -> None:
    one = np.zeros(2)
    with pytest.raises(BadArrays, match=r"'x\.npy' is in it 2 times"):
        read_npz(zipped(("x", one), ("x", one)))
    with pytest.raises(InputsRefused, match="'00/x' is 'x' of run 0 once more"):
        read_runs(zipped(("0/x", one), ("1/x", one), ("00/x", one)))
    assert len(read_runs(zipped(("000/x", one), ("001/x", one)))) == 2


def test_what_is_no_npz_is_told_what_one_is() -> None:
    single = BytesIO()
    np.save(single, np.zeros(3))
    for content, words in (
        (b"", "it is empty"),
        (b"1,2,3\n4,5,6\n", "no zip file"),
        (single.getvalue(), "one array without a name, as `numpy.save` writes it"),
    ):
        with pytest.raises(BadArrays, match=f"{words}; expected what `numpy.savez"):
            read_npz(content)
    mixed = np.array([np.zeros(2), None], np.object_)
    with pytest.raises(BadArrays, match=r"'1/x\.npy' holds objects of Python"):
        read_npz(zipped(("0/x", np.zeros(2)), ("1/x", mixed)))
    assert read_npz(zipped()) == {}


def test_objects_that_are_no_texts_are_not_written() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        dump_npz({"x": np.array([{"a": 1}], dtype=object)})


def test_targets_are_no_inputs_unless_the_graph_has_an_input_of_that_name() -> None:
    x, y = np.zeros(2), np.ones(3)
    run = {"x": x, "target:y": y, "target:z": x}
    inputs, targets = split_targets(run, ["x", "target:z"])
    assert inputs == {"x": x, "target:z": x}
    assert targets == {"y": y}
