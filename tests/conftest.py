"""Shared fixtures: a small trained model, its vocabulary and upload files, and temporary homes."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import torch
import typer.main
import typer.testing

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from benchmarks.cluster.postgres import Postgres
from isslim.compress import trainable
from isslim.compress.kinds.language import latency_curve
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import Progress
from isslim.compress.training.plan import TrainingPlan
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from tests.backends import Backend
from tests.postgres import or_skipped

SUBJECTS = ("the cat", "a dog", "the old man", "my friend", "no bird")
VERBS = ("sees", "likes", "follows", "hears")
OBJECTS = ("the river", "a small house", "the road", "its shadow", "the green tree", "nothing")
WORDS = [
    "<eos>",
    "<unk>",
    *sorted({word for phrase in (*SUBJECTS, *VERBS, *OBJECTS) for word in phrase.split()}),
]


def sentences(count: int, seed: int) -> str:
    """A made-up language: the verb depends on the subject, the object on the verb."""
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(count):
        who, twist, last = (int(torch.randint(60, (1,), generator=generator)) for _ in range(3))
        verb = (who + (twist < 15)) % len(VERBS)
        lines.append(f"{SUBJECTS[who % 5]} {VERBS[verb]} {OBJECTS[(verb + last % 3) % 6]}")
    return "\n".join(lines) + "\n"


def pytest_configure() -> None:
    """The environment of the tests, and of all processes that they start."""
    # Tables are as wide as the command line makes them: there may be variables of a terminal, and
    # no terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # No test reads what a comparison of latencies found: the fewest rounds are enough.
    os.environ["ISS_COMPARISON_SECONDS"] = "0.1"
    # A shell's background jobs ignore it, and so would all processes that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was collected stays until the end: no later collection of garbage looks at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: with tiny tensors a second one only waits, for seconds on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same weights for networks made in a test, whatever ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def closed_form() -> Iterator[None]:
    """A recipe that says nothing of minutes asks for the closed form alone, for the time it saves.

    Workers in processes of their own have the usual default.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainable, "MOST_MINUTES", 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_rounds() -> Iterator[None]:
    """A latency curve is fitted to the fewest rounds: whether it is trusted, no host promises."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_curve, "PAIRS", 3)
        yield


@pytest.fixture(scope="session", autouse=True)
def made_once() -> Iterator[None]:
    """What libraries make anew for each client and each command, and is always the same.

    The host's certificates take 30 milliseconds to read, the program's commands 50 to put together.
    """
    with pytest.MonkeyPatch.context() as patch:
        certificates = "httpx._transports.default.create_ssl_context"
        patch.setattr(certificates, cache(httpx.create_ssl_context))
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@dataclass(frozen=True)
class Trained:
    """A trained model as its owner would upload it."""

    network: LanguageModel
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @property
    def vocabulary(self) -> Path:
        return self.folder / "words.txt"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.txt"

    @property
    def held_out(self) -> Path:
        return self.folder / "held-out.txt"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A 24-wide embedding and layers of 40 and 32 units, over-sized for the language."""
    network = LstmLanguageModel(LstmSpec(len(WORDS), 24, (40, 32)), dropout=0.1)
    renamed = {"embedding": "encoder", "layers.0": "rnns.0", "layers.1": "rnns.1"}
    return train_small(network, tmp_path_factory.mktemp("trained"), renamed)


def train_small(
    network: LanguageModel, folder: Path, renamed: Mapping[str, str], epochs: int = 6
) -> Trained:
    """Trains a network of `len(WORDS)` tokens and writes its upload files with other names."""
    index = {word: position for position, word in enumerate(WORDS)}
    tokens = torch.tensor(
        [index[word] for word in sentences(3000, 0).replace("\n", " <eos> ").split()]
    )
    network.initialise(0.1, torch.Generator().manual_seed(0))
    plan = TrainingPlan(
        epochs=epochs, batch=10, steps=20, optimizer="adamw", learning_rate=1e-2, clip=0.5
    )
    trained = train(network, tokens, plan).network
    state = trained.state_dict()
    for ours, theirs in renamed.items():
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    torch.save(state, folder / "model.pt")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "words.json").write_text(json.dumps(WORDS))
    (folder / "calibration.txt").write_text(sentences(400, 1))
    (folder / "held-out.txt").write_text(sentences(200, 2))
    return Trained(trained, folder)


@dataclass(frozen=True)
class Published:
    """A home with one bundle in it."""

    settings: StoreSettings
    bundle_id: str


def compress_in(home: Path, trained: Trained, recipe: Recipe, *, texts: bool = True) -> str:
    """Runs the whole pipeline in this process and returns the bundle's id."""
    settings = StoreSettings(home=home)
    inputs = UploadedFiles(
        model=trained.model,
        vocabulary=trained.vocabulary,
        calibration=trained.calibration if texts else None,
        held_out=trained.held_out if texts else None,
    )
    work = home / "work" / "test"
    work.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    compressed = compress_files(inputs, recipe, work, progress)
    return publish(compressed, BundleStore(settings), progress)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Published:
    """A compressed bundle of the small model, shared by all tests: do not change it on disk."""
    home = tmp_path_factory.mktemp("published")
    recipe = Recipe(name="tiny", budget=Budget(perplexity_rise=0.1), calibration_tokens=1500)
    return Published(StoreSettings(home=home), compress_in(home, trained, recipe))


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    """An empty home."""
    return StoreSettings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A Postgres server for all tests of a process; each has a database of its own."""
    with or_skipped(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """An S3 server for all tests of a process, which the environment names from then on."""
    with or_skipped(ObjectStorage) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["local", pytest.param("cluster", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """An embedded database and a folder, or Postgres and S3; empty."""
    if request.param == "local":
        return Backend()
    request.getfixturevalue("object_storage")
    server: Postgres = request.getfixturevalue("postgres_server")
    return Backend(server.new_database(), f"s3://{BUCKET}/{uuid4().hex}")
