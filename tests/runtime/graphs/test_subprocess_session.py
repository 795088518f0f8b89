"""A graph in a process of its own: what ends that process, or wants all memory, is refused, and the next run is answered."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isslim.runtime.errors import DeviceUnavailable, GraphRefused, InputsRefused
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.runtime.graphs.subprocess_session import ENDED, SubprocessGraphSession

LIMIT = 512 << 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRU that reads all but the first two steps, and `count` ones."""
    generator = np.random.default_rng(0)
    constants = {
        "w": generator.normal(0, 0.5, (1, 12, 3)).astype(np.float32), "one": np.array([1]), "two": np.array([2]),
        "r": generator.normal(0, 0.5, (1, 12, 4)).astype(np.float32), "many": np.array([2**40]), "zero": np.array([0]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "two", "many", "zero"], ["rest"]),
        helper.make_node("GRU", ["rest", "w", "r"], ["said"], hidden_size=4),
        helper.make_node(
            "ConstantOfShape",
            ["count"],
            ["ones"],
            value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]),
        ),
        helper.make_node("ReduceSum", ["ones", "zero"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "late",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", "b", 3]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("said", TensorProto.FLOAT, ["rest", 1, "b", 4]),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = tmp_path_factory.mktemp("isolated") / "late.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), made
    )
    return made


@pytest.fixture(scope="module")
def graph(path: Path) -> Iterator[SubprocessGraphSession]:
    made = SubprocessGraphSession(path, threads=1, device="cpu", memory_bytes=LIMIT)
    yield made
    made.close()


def steps(count: int, ones: int = 5) -> dict[str, np.ndarray]:
    x = np.random.default_rng(count).standard_normal((count, 2, 3)).astype(np.float32)
    return {"x": x, "count": np.array([ones])}


def works(graph: SubprocessGraphSession) -> None:
    found, milliseconds = graph.run(steps(6), ["said", "sum"])
    expected = GraphSession(graph.path).run(steps(6))
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    assert found["sum"].tolist() == [5.0]
    assert 0 < milliseconds < 1000


def test_outputs_and_ports_are_those_of_the_graph(graph: SubprocessGraphSession) -> None:
    here = GraphSession(graph.path)
    assert (graph.inputs, graph.outputs) == (here.inputs, here.outputs)
    works(graph)
    assert list(graph.run(steps(3), ["sum"])[0]) == ["sum"]
    with pytest.raises(InputsRefused, match="'count' is missing"):
        graph.checked({"x": steps(3)["x"]})


def test_what_ends_the_process_is_refused_and_the_next_run_answered(
    graph: SubprocessGraphSession,
) -> None:
    for _ in range(2):
        with pytest.raises(InputsRefused, match=ENDED):
            graph.run(
                steps(2), ["said"]
            )  # ONNX Runtime's GRU ends the process when it gets no steps
        works(graph)


def test_run_that_wants_too_much_memory_is_refused(graph: SubprocessGraphSession) -> None:
    with pytest.raises(InputsRefused):
        graph.run(steps(3, ones=LIMIT), ["sum"])
    works(graph)
    assert graph.run(steps(3, ones=LIMIT // 16), ["sum"])[0]["sum"].tolist() == [LIMIT / 16]


def test_error_of_onnx_runtime_is_told_and_the_process_stays(graph: SubprocessGraphSession) -> None:
    process = graph._process
    with pytest.raises(InputsRefused, match="ONNX Runtime cannot run"):
        graph.run({**steps(3), "count": np.array([-1])}, ["sum"])
    assert graph._process is process
    works(graph)


def test_process_that_was_killed_meanwhile_is_started_again(graph: SubprocessGraphSession) -> None:
    assert graph._process is not None
    os.kill(graph._process.pid, signal.SIGKILL)
    graph._process.wait()
    works(graph)


def test_many_threads_get_their_own_answers(graph: SubprocessGraphSession) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            if graph.run(steps(3, ones=number), ["sum"])[0]["sum"].tolist() != [float(number)]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nobody_is_left_behind(path: Path) -> None:
    graph = SubprocessGraphSession(path, threads=1, device="cpu", memory_bytes=LIMIT)
    process = graph._process
    assert process is not None
    graph.close()
    assert process.returncode == 0
    works(graph)
    process = graph._process
    assert process is not None
    del graph
    gc.collect()
    limit = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert process.returncode == 0


def test_what_is_no_graph_or_device_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(GraphRefused, match=r"text\.onnx"):
        SubprocessGraphSession(tmp_path / "text.onnx", threads=1, device="cpu", memory_bytes=LIMIT)
    with pytest.raises(DeviceUnavailable):
        SubprocessGraphSession(path, threads=1, device="abacus", memory_bytes=LIMIT)
