"""Several candidates of one job: the original is measured once, and what is published is timed."""

from __future__ import annotations

from pathlib import Path

from isslim.compress.measurement.measure import Measurements
from isslim.compress.progress import Progress
from isslim.runtime.graphs.recorded_inputs import GraphSession
from isslim.runtime.shape import Shape
from isslim.types.manifest import LatencyRecord
from tests.compress.kinds.graphs.distilling.made import halved, task_of


def test_two_candidates_share_the_original_and_the_last_one_is_timed(tmp_path: Path) -> None:
    task, timed = task_of(tmp_path), list[list[str]]()

    class Watched(type(task)):  # type: ignore[misc]
        """Notes what is timed for publication; the choice of an int8 form names its rounds."""

        def compare(
            self, paths: dict[str, Path], shape: Shape, pairs: int | None = None
        ) -> dict[str, LatencyRecord]:
            if pairs is None:
                timed.append(list(paths))
            found: dict[str, LatencyRecord] = super().compare(paths, shape, pairs)
            return found

    task.__class__ = Watched
    measurements = Measurements(task, tmp_path / "original", Progress(), task.shapes)
    folders = [tmp_path / "first", tmp_path / "second"]
    measured = []
    for folder in folders:
        folder.mkdir()
        measured.append(measurements.of(halved(task), folder))
        written = [path.name for path in folder.iterdir() if "original" in path.name]
        assert not written
    first, second = measured
    assert [each.metrics for each in first.variants] == [each.metrics for each in second.variants]
    assert first.checks == second.checks
    assert not timed
    finished = measurements.finished(second, folders[1])
    names = [variant.name for variant in finished.variants]
    assert names[:2] == ["original", "original-int8"]
    assert timed == [names] * len(task.shapes)
    for variant in finished.variants:
        assert len(variant.latency) == len(task.shapes)
        assert variant.primary_latency.primary
        GraphSession(folders[1] / variant.file)
    assert not (tmp_path / "original").exists()
