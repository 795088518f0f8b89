"""A graph in a process of its own: what ends it is refused, and the next run is answered."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isslim.runtime.errors import DeviceUnavailable, GraphRefused, InputsRefused, RunStopped
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.runtime.graphs.subprocess_session import ENDED, SubprocessGraphSession
from isslim.runtime.run_control import stopped_after

LIMIT = 512 << 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRU that reads all but the first two steps, and `count` ones."""
    generator = np.random.default_rng(0)
    constants = {
        "w": generator.normal(0, 0.5, (1, 12, 3)).astype(np.float32),
        "r": generator.normal(0, 0.5, (1, 12, 4)).astype(np.float32),
        **{"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])},
        "many": np.array([2**40]),
    }
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
    process = graph._child.process
    with pytest.raises(InputsRefused, match="ONNX Runtime cannot run"):
        graph.run({**steps(3), "count": np.array([-1])}, ["sum"])
    assert graph._child.process is process
    works(graph)


def test_process_that_was_killed_meanwhile_is_started_again(graph: SubprocessGraphSession) -> None:
    assert graph._child.process is not None
    os.kill(graph._child.process.pid, signal.SIGKILL)
    graph._child.process.wait()
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
    process = graph._child.process
    assert process is not None
    graph.close()
    assert process.returncode == 0
    works(graph)
    process = graph._child.process
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


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return endless_loop(tmp_path_factory.mktemp("endless") / "loop.onnx")


def endless_loop(path: Path) -> Path:
    """A graph that adds one to `x` as often as `count` says."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["before", "one"], ["after"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["count", "", "x"], ["y"], body=body)],
        "endless",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


def times(count: int) -> dict[str, np.ndarray]:
    return {"count": np.array(count), "x": np.zeros(1, np.float32)}


def test_run_that_never_ends_is_stopped_and_the_next_one_answered(loop: Path) -> None:
    graph = SubprocessGraphSession(loop, threads=1, device="cpu", memory_bytes=LIMIT)
    here = GraphSession(loop)
    for _ in range(2):
        with stopped_after(0.3) as control:
            began = time.monotonic()
            with pytest.raises(RunStopped):
                graph.bound(control).run(times(2**62), ["y"])
            with pytest.raises(RunStopped):  # nothing more begins under it
                graph.bound(control).run(times(3), ["y"])
            assert time.monotonic() - began < 5
        assert graph.run(times(3), ["y"])[0]["y"].tolist() == [3.0]
    with stopped_after(0.3) as control, pytest.raises(RunStopped):
        here.bound(control).run(times(2**62))
    assert here.run(times(3))["y"].tolist() == [3.0]
    graph.close()


def test_closing_a_session_ends_the_run_that_it_is_at(loop: Path) -> None:
    graph = SubprocessGraphSession(loop, threads=1, device="cpu", memory_bytes=LIMIT)
    process = graph._child.process
    assert process is not None
    threading.Timer(0.3, graph.close).start()
    with pytest.raises(RunStopped):
        graph.run(times(2**62), ["y"])
    assert process.wait(timeout=5) is not None


def test_process_in_the_middle_of_a_run_ends_with_the_one_that_started_it(loop: Path) -> None:
    code = (
        "import sys, threading, time\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession\n"
        "path = Path(sys.argv[1])\n"
        "graph = SubprocessGraphSession(path, threads=1, device='cpu', memory_bytes=1 << 29)\n"
        "feed = {'count': np.array(2**62), 'x': np.zeros(1, np.float32)}\n"
        "threading.Thread(target=graph.run, args=(feed, ['y']), daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print(graph._child.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(loop)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().decode().strip()
    assert child.exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    limit = time.monotonic() + 5
    while child.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    assert not child.exists()
