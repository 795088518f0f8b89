"""The real child under the real worker: killed in every stage, on a full disk, on a bad text."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.store.bundles import BundleStore
from isslim.store.queue import JobQueue
from isslim.store.settings import StoreSettings
from isslim.types.jobs import CompressionRequest, Job, JobState
from isslim.types.recipe import Budget, Recipe
from tests.conftest import Trained, sentences
from tests.uploads import stored

STAGES = ("ingest", "calibrate", "search", "fine-tune", "export", "measure")


def stages(slow: Sequence[str]) -> list[Any]:
    """The stages as parameters: some for the slow tests, the others for the long ones."""
    return [
        pytest.param(each, marks=pytest.mark.slow if each in slow else pytest.mark.long)
        for each in STAGES
    ]


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model big enough for every stage to be caught in the act."""
    return upload_in(
        tmp_path_factory.mktemp("upload"), LstmLanguageModel(LstmSpec(3000, 300, (300, 300)))
    )


def upload_in(
    folder: Path, network: LstmLanguageModel, precision: torch.dtype = torch.float32
) -> Path:
    """Writes an untrained network's upload files into a folder."""
    network.initialise(0.1, torch.Generator().manual_seed(0))
    state = {
        name.replace("embedding", "embed").replace("layers.", "lstm."): weights.to(precision)
        for name, weights in network.state_dict().items()
    }
    torch.save(state, folder / "model.pt")
    words = ["<eos>", "<unk>", *(f"w{index}" for index in range(network.vocabulary - 2))]
    (folder / "words.txt").write_text("\n".join(words))
    return folder


class House:
    """A home folder with one worker that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.settings = StoreSettings(home=home)
        self.queue = JobQueue(self.settings)
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self, limit_bytes: int | None = None) -> None:
        def limit() -> None:
            if limit_bytes is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        environment = os.environ | {
            "ISS_HOME": str(self.settings.home), "ISS_EXECUTOR_ID": "one", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.worker = subprocess.Popen(
            [sys.executable, "-m", "isslim.compress.worker"],
            env=environment,
            stderr=subprocess.DEVNULL,
            preexec_fn=limit,
        )

    def kill(self) -> None:
        if self.worker is not None and self.worker.poll() is None:
            self.worker.send_signal(signal.SIGKILL)
            self.worker.wait()

    def ask(self, upload: Path, recipe: Recipe, **texts: Path) -> Job:
        files = {"model": upload / "model.pt", "vocabulary": upload / "words.txt", **texts}
        saved = {name: stored(self.settings, path) for name, path in files.items()}
        return self.queue.enqueue(CompressionRequest(**saved, recipe=recipe))

    def until(self, job_id: str, done: Callable[[Job], bool], seconds: float = 90) -> Job:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            job = self.queue.get(job_id)
            if done(job):
                return job
            time.sleep(0.02)
        pytest.fail(f"still {self.queue.get(job_id)}")

    def leftovers(self) -> list[str]:
        return (
            [path.name for path in self.settings.work.iterdir()]
            if self.settings.work.exists()
            else []
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home")
    yield made
    made.kill()
    made.queue.close()


def recipe(
    name: str,
    *,
    calibration_tokens: int = 6000,
    held_out_tokens: int = 2000,
    minutes: float = 0.03,
) -> Recipe:
    return Recipe(
        name=name,
        budget=Budget(size_ratio=0.5),
        calibration_tokens=calibration_tokens,
        held_out_tokens=held_out_tokens,
        minutes=minutes,
    )


@pytest.mark.parametrize("stage", stages(("search", "measure")))
def test_job_killed_in_any_stage_is_finished_by_the_next_worker(
    stage: str, house: House, upload: Path
) -> None:
    house.start()
    job = house.ask(upload, recipe("killed"))
    house.until(job.id, lambda job: job.stage == stage or job.state.ended)
    house.kill()
    assert not house.queue.get(job.id).state.ended
    assert BundleStore(house.settings).manifests() == []
    house.start()
    done = house.until(job.id, lambda job: job.state.ended)
    assert (done.state, done.attempts) == (JobState.SUCCEEDED, 2)
    assert [bundle_id for bundle_id, _ in BundleStore(house.settings).manifests()] == [
        done.model_id
    ]
    house.until(job.id, lambda job: house.leftovers() == [], seconds=5)


@pytest.mark.slow
def test_learning_job_killed_at_random_moments_ends_as_the_undisturbed_one(
    house: House, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "train.txt").write_text(sentences(10_000, 5))
    asked = Recipe(
        name="learnt",
        mode="learn",
        learn_epochs=12,
        optimize="size",  # two jobs never measure exactly the same times
        budget=Budget(perplexity_rise=0.05),
        calibration_tokens=2000,
    )
    bundles, moments = [], random.Random(int(time.time()))
    others = House(tmp_path / "others")
    for each, kills in ((house, 0), (others, 3)):
        each.start()
        job = each.ask(
            trained.folder, asked, train=tmp_path / "train.txt", held_out=trained.held_out
        )
        for attempt in range(1, kills + 1):
            each.until(
                job.id,
                lambda job, this=attempt: (
                    (job.attempts == this and job.stage == "learn") or job.state.ended
                ),
            )
            time.sleep(moments.uniform(0.5, 4))
            each.kill()
            assert not each.queue.get(job.id).state.ended
            each.start()
        done = each.until(job.id, lambda job: job.state.ended, seconds=300)
        each.kill()
        assert (done.state, done.attempts) == (JobState.SUCCEEDED, 1 + kills)
        bundles.append(BundleStore(each.settings).open(str(done.model_id)).manifest)
    others.queue.close()
    undisturbed, killed = bundles
    assert killed.axes == undisturbed.axes
    assert any(axis.kept < axis.original for axis in killed.axes)
    for one, two in zip(undisturbed.variants, killed.variants, strict=True):
        assert two.metrics["perplexity"] == pytest.approx(one.metrics["perplexity"], abs=0.1)


@pytest.mark.parametrize("stage", stages(("calibrate", "export")))
def test_job_cancelled_in_any_stage_leaves_nothing(stage: str, house: House, upload: Path) -> None:
    house.start()
    job = house.ask(upload, recipe("cancelled"))
    house.until(job.id, lambda job: job.stage == stage or job.state.ended)
    assert house.queue.cancel(job.id).state is JobState.CANCELLED
    house.until(job.id, lambda job: house.leftovers() == [], seconds=5)
    assert BundleStore(house.settings).manifests() == []
    assert house.queue.get(job.id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("stage", "precision", "minutes"),
    [
        pytest.param("export", torch.float16, 0.0, marks=pytest.mark.slow),
        # What a full disk does to a checkpoint, training/test_full_disk.py shows in a second.
        pytest.param("fine-tune", torch.float32, 0.02, marks=pytest.mark.long),
    ],
)
def test_full_disk_in_the_child_is_an_answer_and_leaves_nothing(
    stage: str, precision: torch.dtype, minutes: float, house: House, tmp_path: Path
) -> None:
    # Enough for the inputs and the database; too little for the graph, where the inputs are in 16
    # bits, and for a checkpoint, which holds the moments of the weights beside them.
    upload = upload_in(tmp_path, LstmLanguageModel(LstmSpec(20_000, 64, (64,))), precision)
    texts = {}
    if minutes:  # a pass over it, behind which a checkpoint is written, takes no time
        texts["calibration"] = tmp_path / "text.txt"
        texts["calibration"].write_text(" ".join(f"w{index}" for index in range(700)))
    job = house.ask(
        upload,
        recipe("full", calibration_tokens=500, held_out_tokens=500, minutes=minutes),
        **texts,
    )
    house.start(limit_bytes=int(1.05 * (upload / "model.pt").stat().st_size))
    done = house.until(job.id, lambda job: job.state.ended)
    assert (done.state, done.stage) == (JobState.FAILED, stage), done.problem
    assert done.problem is not None
    assert done.problem.kind == "out-of-space", done.problem
    assert BundleStore(house.settings).manifests() == []
    house.until(job.id, lambda job: house.leftovers() == [], seconds=5)


@pytest.mark.slow
def test_unusable_text_is_an_answer(house: House, trained: Trained, tmp_path: Path) -> None:
    # Which texts are unusable is told in test_texts; that such an error reaches the job is the same
    # way for all of them.
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00" * 99)
    request = CompressionRequest(
        model=stored(house.settings, trained.model),
        vocabulary=stored(house.settings, trained.vocabulary),
        held_out=stored(house.settings, tmp_path / "binary"),
        recipe=Recipe(name="binary"),
    )
    house.start()
    done = house.until(house.queue.enqueue(request).id, lambda job: job.state.ended)
    assert done.state is JobState.FAILED
    assert done.problem is not None
    assert done.problem.kind == "text-unusable", done.problem
    assert "not UTF-8" in done.problem.detail
