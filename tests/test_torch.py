"""The small network of a bundle back in PyTorch: equal to the graph, and trainable."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

import isslim.torch
from isslim.compress.errors import ModeUnavailable, UnreadableUpload
from isslim.compress.inspection.inspect import begin
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.kinds.questions.examples import Questions, prepare
from isslim.compress.kinds.questions.folder import save_reader
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.kinds.questions.squad import read_squad
from isslim.compress.kinds.registry import UploadedFiles, read_task
from isslim.compress.onnx.model.split_model import nodes
from isslim.compress.pipeline import compress_files, publish
from isslim.compress.progress import Progress
from isslim.compress.training.saved_network import save_network
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession, TokenBatch
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from tests.compress.kinds.questions.models import world
from tests.conftest import WORDS, Trained, compress_in, train_small
from tests.tagger import tagger_graph

V = len(WORDS)
NETWORKS: Mapping[str, Callable[[], LanguageModel]] = {
    "lstm": lambda: LstmLanguageModel(LstmSpec(V, 10, (14, 12))),
    "tied": lambda: LstmLanguageModel(LstmSpec(V, 12, (14, 12), tied=True)),
    "gru": lambda: GruLanguageModel(GruSpec(V, 10, (14,))),
    "ranks": lambda: LstmLanguageModel(
        LstmSpec(V, 10, (14, 12), bottleneck=6, input_ranks=(0, 8), recurrent_ranks=(7, 7))
    ),
    "rhn": lambda: RhnLanguageModel(RhnSpec(V, 10, 14, 2)),
}
RECIPE = Recipe(name="small", budget=Budget(size_ratio=0.7), calibration_tokens=1500)


@dataclass(frozen=True)
class Made:
    """A model that was uploaded, and its bundle."""

    trained: Trained
    bundle: OpenBundle

    @property
    def ids(self) -> torch.Tensor:
        """The held-out text as two streams, (T, 2)."""
        codec = TextCodec.from_folder(self.bundle.folder, self.bundle.manifest.contract)
        ids = codec.encode(self.trained.held_out.read_text())
        return torch.tensor(ids[: len(ids) // 2 * 2]).view(2, -1).t().contiguous()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in ("tied", "rhn") else [])
        for name in NETWORKS
    ],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    trained = train_small(NETWORKS[request.param](), folder, {}, epochs=1)
    bundle_id = compress_in(folder / "home", trained, RECIPE)
    return Made(trained, BundleStore(StoreSettings(home=folder / "home")).open(bundle_id))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenBundle, Questions]:
    """A reader of random weights through the whole pipeline, and its held-out questions."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "held-out.json").write_text(json.dumps(world(30, 2)))
    words = ["found", "in", "what", "did", "find", "where", "was", ".", "?", "the"]
    vectors = np.random.default_rng(0).normal(0, 0.5, (len(words), 6))
    codec = PassageCodec(words, vectors, list("abcdefghijklmnopqrstuvwxyz"))
    network = Bidaf(BidafSpec(6, codec.character_ids, 3, 8, (6, 6), (6, 6), (6, 6), (6, 6)))
    network.initialise(0.5, torch.Generator().manual_seed(0))
    save_reader(folder, network, codec)
    inputs = UploadedFiles(
        model=folder / "model.safetensors",
        config=folder / "config.json",
        vocabulary=folder / "words.txt",
        vectors=folder / "vectors.npy",
        characters=folder / "characters.txt",
        held_out=folder / "held-out.json",
        calibration=folder / "held-out.json",
    )
    bundles, progress = BundleStore(StoreSettings(home=folder / "home")), Progress()
    recipe = Recipe(name="reader", budget=Budget(size_ratio=0.8))
    compressed = compress_files(inputs, recipe, folder / "work", progress)
    bundle = bundles.open(publish(compressed, bundles, progress))
    return bundle, prepare(read_squad([folder / "held-out.json"]), codec)


def test_its_logits_are_those_of_the_graph_with_carried_state(made: Made) -> None:
    small, tokens = isslim.torch.load(made.bundle.folder), made.ids
    session = LanguageSession(made.bundle.path("compressed.onnx"))
    state, fed = small.zero_state(2), session.zero_state(2)  # type: ignore[operator]
    for chunk in (tokens[:150], tokens[150:300]):
        with torch.no_grad():
            logits, state = small(chunk, state)
        positions = np.stack(np.meshgrid(range(150), range(2), indexing="ij"), -1).reshape(-1, 2)
        _, expected, fed = session.run(
            chunk.numpy(), chunk.numpy(), np.full(2, 150, np.int32), fed, positions
        )
        found = logits.log_softmax(-1).reshape(-1, V).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_one_epoch_of_adam_lowers_its_loss(made: Made) -> None:
    small, tokens = isslim.torch.load(made.bundle.folder), made.ids

    def loss() -> torch.Tensor:
        logits, _ = small(tokens[:-1], small.zero_state(2))  # type: ignore[operator]
        return functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())

    before, state = float(loss().detach()), small.zero_state(2)  # type: ignore[operator]
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    small.train()
    for start in range(0, len(tokens) - 1, 20):
        chunk, wanted = tokens[start : start + 20], tokens[start + 1 : start + 21]
        logits, state = small(chunk[: len(wanted)], state)
        state = [tuple(each.detach() for each in layer) for layer in state]
        optimizer.zero_grad()
        functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()).backward()
        optimizer.step()
    small.eval()
    assert float(loss().detach()) < before
    again = isslim.torch.load(made.bundle.folder)
    again.load_state_dict(small.state_dict())  # all of its names are there


def test_its_graphs_say_what_they_are_of(made: Made) -> None:
    manifest = made.bundle.manifest
    assert {each.name for each in manifest.variants} >= {"original", "compressed"}
    for variant in manifest.variants:
        graph = onnx.load(made.bundle.path(variant.file))
        about = {each.key: each.value for each in graph.metadata_props}
        assert len(about) == len(graph.metadata_props)  # no key twice
        assert about.pop("precision", "float32") == variant.precision
        assert about == {
            "task": "language-model",
            "variant": variant.name,
            "model": "small",
            "upload_sha256": manifest.provenance.upload_sha256,
        }
        assert graph.producer_name == "isslim"
        assert graph.doc_string.startswith(f"'small', {variant.name}: {variant.parameters:,} ")
        names = [node.name for node in nodes(graph.graph)]
        assert all(names)
        assert len(set(names)) == len(names)


def test_weights_and_sizes_are_files_of_the_bundle(made: Made) -> None:
    folder, manifest = made.bundle.folder, made.bundle.manifest
    named = {record.path for record in manifest.files}
    assert {"compressed.safetensors", "compressed.json"} <= named
    compressed = manifest.variant("compressed")
    assert compressed is not None
    weights = load_file(folder / "compressed.safetensors")
    assert sum(each.numel() for each in weights.values()) == compressed.parameters
    written = json.loads((folder / "compressed.json").read_text())
    assert (written["isslim"], written["architecture"]) == (3, manifest.architecture)
    assert written["spec"]["vocabulary"] == V
    with safe_open(folder / "compressed.safetensors", framework="pt") as file:
        header = file.metadata()
    tied = "true" if compressed.tied else "false"
    assert header == {
        "format": "pt",
        "isslim": "3",
        "architecture": manifest.architecture,
        "tied": tied,
    }


def test_two_files_of_one_network_are_equal(made: Made, tmp_path: Path) -> None:
    small = isslim.torch.load(made.bundle.folder)
    assert isinstance(small, LanguageModel)
    for _ in range(8):  # the library orders a header anew in every call
        save_network(tmp_path, small)
        for name in ("compressed.safetensors", "compressed.json"):
            assert (tmp_path / name).read_bytes() == made.bundle.path(name).read_bytes()
    (size,) = struct.unpack("<Q", (tmp_path / "compressed.safetensors").read_bytes()[:8])
    assert size % 8 == 0


@pytest.mark.parametrize("config", [True, False], ids=["with its JSON", "weights alone"])
def test_what_was_pulled_is_an_upload_as_it_is(made: Made, config: bool) -> None:
    folder = made.bundle.folder
    task = read_task(
        UploadedFiles(
            model=folder / "compressed.safetensors",
            config=folder / "compressed.json" if config else None,
            vocabulary=folder / "tokenizer.json",
            held_out=made.trained.held_out,
        ),
        Recipe(),
    )
    assert task.text == made.bundle.manifest.text
    small, found = isslim.torch.load(folder).state_dict(), task.original.arrays()
    for name, array in found.items():
        np.testing.assert_array_equal(array, small[name].numpy())
    compressed = made.bundle.manifest.variant("compressed")
    assert compressed is not None
    assert compressed.sizes == dict(task.original.declaration().axes)
    assert task.evaluate(task.original).value == pytest.approx(
        compressed.metrics["perplexity"], rel=1e-2
    )


def test_a_reader_comes_back_equal_to_its_graph_and_trains(
    reader: tuple[OpenBundle, Questions],
) -> None:
    bundle, questions = reader
    small = isslim.torch.load(bundle.folder)
    chosen = [i for i, each in enumerate(questions.examples) if each.span is not None]
    inputs, (first, last) = questions.inputs(chosen), questions.spans(chosen)
    sides = [TokenBatch(*(each.numpy() for each in inputs[at : at + 3])) for at in (0, 3)]
    expected = QuestionSession(bundle.path("compressed.onnx")).run(*sides)
    with torch.no_grad():
        start, end = small(*inputs)
    real = (torch.arange(start.shape[1]) < inputs[2][:, None]).numpy()
    np.testing.assert_allclose(start.numpy()[real], expected.start_log_probs[real], atol=1e-4)
    np.testing.assert_allclose(end.numpy()[real], expected.end_log_probs[real], atol=1e-4)

    def loss() -> torch.Tensor:
        start, end = small(*inputs)
        return functional.nll_loss(start, first) + functional.nll_loss(end, last)

    before, optimizer = float(loss().detach()), torch.optim.Adam(small.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < before


def test_a_reader_that_was_pulled_is_an_upload_as_it_is(
    reader: tuple[OpenBundle, Questions],
) -> None:
    folder = reader[0].folder
    task = read_task(
        UploadedFiles(
            model=folder / "compressed.safetensors",
            config=folder / "compressed.json",
            vocabulary=folder / "words.txt",
            vectors=folder / "vectors.npy",
            characters=folder / "characters.txt",
            calibration=folder.parents[3] / "held-out.json",
        ),
        Recipe(),
    )
    small = isslim.torch.load(folder).state_dict()
    assert all(np.array_equal(a, small[name]) for name, a in task.original.arrays().items())


def test_kinds_without_a_form_of_their_own_or_a_module_say_so(
    reader: tuple[OpenBundle, Questions], tmp_path: Path
) -> None:
    folder, graph = reader[0].folder, tagger_graph(tmp_path)
    questions = UploadedFiles(
        model=folder / "compressed.safetensors",
        vocabulary=folder / "words.txt",
        vectors=folder / "vectors.npy",
        characters=folder / "characters.txt",
        calibration=folder.parents[3] / "held-out.json",
    )
    asked = Recipe(form="same", budget=Budget(size_ratio=0.5))
    for kind, inputs in (
        ("question-answering", questions),
        ("graph", UploadedFiles(model=graph)),
    ):
        with pytest.raises(ModeUnavailable, match=f"form `same` is one of.*{kind}.*form `free`"):
            begin(inputs, asked, lambda found: None)
    task = read_task(UploadedFiles(model=graph), Recipe(budget=Budget(size_ratio=0.5)))
    with pytest.raises(ModeUnavailable, match=r"no PyTorch module.*compressed\.onnx"):
        task.module(task.original)


@pytest.fixture
def pulled(made: Made, tmp_path: Path) -> Path:
    shutil.copytree(made.bundle.folder, tmp_path / "small")
    return tmp_path / "small"


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_folder_that_holds_no_such_weights_is_refused_in_plain_words(
    pulled: Path, tmp_path: Path
) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(isslim.torch.WeightsRefused) as caught:
            isslim.torch.load(folder)
        return str(caught.value)

    assert "there is no folder" in refusal(tmp_path / "nowhere")
    assert "lacks compressed.safetensors: the folder of a compressed" in refusal(tmp_path)
    rewrite(pulled / "compressed.json", lambda given: given | {"architecture": "gru-2"})
    assert "compressed.json is not the file that manifest.json names" in refusal(pulled)
    (pulled / "manifest.json").unlink()
    assert "and the JSON beside it describes 'gru-2'" in refusal(pulled)
    weights = load_file(pulled / "compressed.safetensors")
    save_file(weights, pulled / "compressed.safetensors")  # no header: the JSON alone says what
    assert "the architecture 'gru-2' is not known here" in refusal(pulled)
    (pulled / "compressed.json").write_text('{"isslim": 3}')
    assert "compressed.json is not the description of a network: architecture" in refusal(pulled)
    (pulled / "compressed.json").unlink()
    assert "compressed.json is missing" in refusal(pulled)
    content = (pulled / "compressed.safetensors").read_bytes()
    (pulled / "compressed.safetensors").write_bytes(content[:-9])
    shutil.copy(tmp_path / "small" / "report.json", pulled / "compressed.json")
    assert "compressed.json is not the description of a network" in refusal(pulled)


def test_weights_of_another_model_are_refused_tensor_by_tensor(pulled: Path) -> None:
    (pulled / "manifest.json").unlink()
    weights = load_file(pulled / "compressed.safetensors")
    bias = weights.pop("decoder.bias")
    weights |= {"decoder.bias.": bias, "embedding.weight": weights["embedding.weight"][:-1]}
    save_file(weights, pulled / "compressed.safetensors")
    with pytest.raises(isslim.torch.WeightsRefused) as caught:
        isslim.torch.load(pulled)
    message = str(caught.value)
    assert "'decoder.bias' is missing; 'decoder.bias.' is not part of it" in message
    assert f"'embedding.weight' is ({V - 1}, " in message
    assert "Take both files from one model" in message


def test_upload_with_the_json_of_another_model_is_refused(pulled: Path) -> None:
    def another(given: dict[str, Any]) -> dict[str, Any]:
        return given | {"spec": given["spec"] | {"vocabulary": V + 1}}

    rewrite(pulled / "compressed.json", another)
    inputs = UploadedFiles(
        model=pulled / "compressed.safetensors",
        config=pulled / "compressed.json",
        vocabulary=pulled / "tokenizer.json",
    )
    with pytest.raises(UnreadableUpload, match="the config describes another network"):
        read_task(inputs, Recipe())


def test_loading_needs_no_library_of_service_or_store() -> None:
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in sys.argv[1:]:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import isslim.torch\n"
    )
    absent = ["obstore", "dbos", "sqlalchemy", "psycopg", "fastapi", "starlette", "uvicorn"]
    absent += ["pydantic_settings", "onnx", "tokenizers", "matplotlib", "httpx"]
    subprocess.run([sys.executable, "-c", code, *absent], check=True)
