"""The code in a card runs in the bundle's folder, and gives what the service gives."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from isslim.card.markdown import fenced
from isslim.card.program_section import program_section
from isslim.card.usage_section import served_of
from isslim.compress.card.card import write_card
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.training.saved_network import save_network
from isslim.runtime.graphs.recorded_inputs import GraphSession, read_runs
from isslim.runtime.language import scoring
from isslim.runtime.language.session import LanguageSession
from isslim.runtime.language.text import TextCodec
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession
from isslim.store.bundles import BundleStore, OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.kinds.description import ExampleInput, Served
from isslim.types.kinds.own_class import own_class_program
from isslim.types.kinds.programs import (
    EXAMPLE_TEXT,
    graph_programs,
    language_programs,
    question_programs,
)
from isslim.types.recipe import Budget, Recipe
from isslim.types.recommendation import recommended
from isslim.types.report import Report
from isslim.types.same_form import ModuleChange, SameForm
from tests import reader, tagger
from tests.conftest import WORDS, Published, compress_in, train_small

PAGE = Path(__file__).parents[3] / "docs" / "use-in-your-program.md"


def python_blocks(text: str) -> list[str]:
    """The blocks of Python in a card or page."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def copied(bundle: OpenBundle, folder: Path) -> Path:
    """A copy of a bundle's files with a fresh card."""
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    write_card(folder, bundle.manifest, report_of(bundle))
    return folder


def report_of(bundle: OpenBundle) -> Report:
    return Report.model_validate_json(bundle.path("report.json").read_text())


def output_of(code: str, folder: Path) -> list[str]:
    """The lines that a program prints when it runs in a folder."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def block_after(card: str, heading: str) -> str:
    """The card's block of Python below a heading, which is on the documents' page as well.

    The page's graph is `compressed-int8.onnx`; a card's is the one that was measured to be better.
    """
    block = python_blocks(card.split(f"### {heading}\n")[1])[0]
    shown = block.replace('"compressed.onnx"', '"compressed-int8.onnx"')
    assert shown in python_blocks(PAGE.read_text()), "the page shows the same code as the card"
    return block


def recommended_file(bundle: OpenBundle) -> str:
    best = recommended(bundle.manifest.variants)
    assert best is not None
    return best.file


def onnx_block(card: str) -> str:
    return block_after(card, "ONNX Runtime")


def test_a_language_models_code_scores_and_continues_a_text(
    published: Published, tmp_path: Path
) -> None:
    bundle = BundleStore(published.settings).open(published.bundle_id)
    folder = copied(bundle, tmp_path / "bundle")
    code, file = onnx_block(card_of(folder)), recommended_file(bundle)
    served = output_of(code, folder)[0]
    first, *tokens = output_of(code.replace(file, "compressed.onnx"), folder)

    # In int8 all tokens of a run share a scale, and this run has one token more than the service's.
    codec = TextCodec.from_folder(folder, bundle.manifest.contract)
    ids = codec.encode(EXAMPLE_TEXT)
    int8 = scoring.perplexity(LanguageSession(bundle.path(file)), ids, codec.start_id)
    assert float(served.removeprefix("perplexity ")) == pytest.approx(int8, rel=0.02)
    session = LanguageSession(bundle.path("compressed.onnx"))
    expected = scoring.perplexity(session, ids, codec.start_id)
    assert float(first.removeprefix("perplexity ")) == pytest.approx(expected, rel=1e-5)

    assert codec.start_id is not None
    state = session.zero_state(1)
    for token in [codec.start_id, *ids]:
        following, state = scoring.next_log_probs(session, token, state)
    greedy = []
    for _ in range(10):
        token = int(following.argmax())
        greedy.append(codec.token(token))
        following, state = scoring.next_log_probs(session, token, state)
    assert tokens == greedy


def test_without_a_start_token_the_first_token_is_given(
    published: Published, tmp_path: Path
) -> None:
    bundle = BundleStore(published.settings).open(published.bundle_id)
    contract = bundle.manifest.contract.model_copy(update={"start_token": None})
    (program,) = language_programs(Served("m", ("original",), "original.onnx", contract))
    first, *_ = output_of(program.code, bundle.folder)
    session = LanguageSession(bundle.path("original.onnx"))
    ids = TextCodec.from_folder(bundle.folder, contract).encode(EXAMPLE_TEXT)
    expected = scoring.perplexity(session, ids, None)
    assert float(first.removeprefix("perplexity ")) == pytest.approx(expected, rel=1e-5)


def test_a_readers_code_answers_as_the_service_does(tmp_path: Path) -> None:
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(reader.publish(tmp_path))
    section = "\n\n".join(
        program_section(bundle.manifest.task, served_of(bundle.manifest))
    )  # the whole card needs latencies, which this bundle lacks
    folder = bundle.folder
    lines = output_of(onnx_block(section), folder)
    session = QuestionSession(bundle.path(recommended_file(bundle)))
    asked = tokenize_question(
        "Where does the Wye rise?", "The river Wye rises in Wales and flows into the Severn."
    )
    found = answer(session, encode_question(PassageCodec.from_folder(folder), asked), top_k=3)
    assert lines == [f"{each.text} {each.score} {each.text}" for each in found.answers]


@pytest.mark.slow
def test_a_graphs_code_runs_it_on_the_run_that_was_timed(tmp_path: Path) -> None:
    made = tagger.publish(tmp_path / "home")
    bundle = BundleStore(made.settings).open(made.bundle_id)
    folder = copied(bundle, tmp_path / "bundle")
    lines = output_of(onnx_block(card_of(folder)), folder)
    session = GraphSession(bundle.path(recommended_file(bundle)))
    outputs = session.run(read_runs(bundle.path("samples.npz").read_bytes())[0])
    assert lines == [f"{name} {each.dtype} {each.shape}" for name, each in outputs.items()]


@pytest.mark.slow
def test_a_language_models_module_scores_as_its_graph_and_trains_on(
    published: Published, tmp_path: Path
) -> None:
    bundle = BundleStore(published.settings).open(published.bundle_id)
    folder = copied(bundle, tmp_path / "bundle")
    before, after = (
        float(line.rpartition(" ")[2])
        for line in output_of(block_after(card_of(folder), "PyTorch"), bundle.folder)
    )
    codec = TextCodec.from_folder(folder, bundle.manifest.contract)
    session = LanguageSession(bundle.path("compressed.onnx"))
    expected = scoring.perplexity(session, codec.encode(EXAMPLE_TEXT), codec.start_id)
    assert before == pytest.approx(expected, rel=1e-4)
    assert after < before


@pytest.mark.slow
def test_a_readers_module_gives_the_answer_of_its_graph(tmp_path: Path) -> None:
    bundle = BundleStore(StoreSettings(home=tmp_path)).open(reader.publish(tmp_path))
    folder = tmp_path / "pulled"
    folder.mkdir()
    codec = PassageCodec.from_folder(bundle.folder)
    codec.save(folder)
    save_network(folder, reader.small_reader())
    _, program = question_programs(Served("m", ("original",), "original.onnx", has_weights=True))
    assert program.code in python_blocks(PAGE.read_text())
    lines = output_of(program.code, folder)
    session = QuestionSession(bundle.path("compressed.onnx"))
    asked = tokenize_question(
        "Where does the Wye rise?", "The river Wye rises in Wales and flows into the Severn."
    )
    (best,) = answer(session, encode_question(codec, asked)).answers
    assert lines == [best.text]


class Renamed(nn.Module):
    """A model of a user: plain attributes, a list of layers, and a module of modules."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(9, width)
        self.rnns = nn.ModuleList([nn.LSTM(width, units), nn.LSTM(units, width)])
        self.head = nn.Module()
        self.head.decoder = nn.Linear(width, 9, bias=False)


def changes(*rows: tuple[str, str, list[int], list[int], str]) -> list[ModuleChange]:
    return [
        ModuleChange(name=name, torch_class=call, before=before, after=after, options=options)
        for name, call, before, after, options in rows
    ]


@pytest.mark.slow
@pytest.mark.parametrize("unchanged", [[], ["criterion.weight"]])
def test_own_class_is_built_with_smaller_numbers_and_loads_its_weights(
    unchanged: list[str], tmp_path: Path
) -> None:
    small = Renamed(3, 4)
    state = small.state_dict() | {name: torch.ones(2) for name in unchanged}
    save_file(state, tmp_path / "state_dict.safetensors")
    same = SameForm(
        modules=changes(
            ("encoder", "nn.Embedding", [9, 5], [9, 3], ""),
            ("rnns.0", "nn.LSTM", [5, 6], [3, 4], ""),
            ("rnns.1", "nn.LSTM", [6, 5], [4, 3], ""),
            ("head.decoder", "nn.Linear", [5, 9], [3, 9], "bias=False"),
        ),
        unchanged=unchanged,
    )
    code = own_class_program(same).code
    assert "nn.LSTM(3, 4),  # before: nn.LSTM(5, 6)" in code
    shown = "print(*sorted(model.state_dict()), *model.rnns[1].weight_hh_l0[0].tolist())"
    (line,) = output_of(f"{code}\n{shown}", tmp_path)
    *names, _, _, _ = line.split()
    assert names == sorted(small.state_dict())
    values = [float(each) for each in line.split()[-3:]]
    assert values == pytest.approx(small.rnns[1].weight_hh_l0[0].tolist())
    if not unchanged:  # a missing weight is not overlooked
        del state["head.decoder.weight"]
        save_file(state, tmp_path / "state_dict.safetensors")
        with pytest.raises(AssertionError, match=r"Missing key\(s\) in state_dict"):
            output_of(code, tmp_path)


@pytest.mark.slow
def test_a_card_shows_the_senders_class_that_loads_the_state_dict(tmp_path: Path) -> None:
    network = LstmLanguageModel(LstmSpec(len(WORDS), 12, (16, 16)))
    renamed = {"embedding": "encoder", "layers.0": "rnns.0", "layers.1": "rnns.1"}
    trained = train_small(network, tmp_path, renamed, epochs=1)
    recipe = Recipe(name="own", form="same", budget=Budget(size_ratio=0.8), calibration_tokens=800)
    bundle_id = compress_in(tmp_path / "home", trained, recipe)
    bundle = BundleStore(StoreSettings(home=tmp_path / "home")).open(bundle_id)
    heading = "### Your own class, with smaller numbers\n"
    (code,) = python_blocks(bundle.path("README.md").read_text().split(heading)[1])
    shown = "print(sum(each.numel() for each in model.parameters()))"
    (line,) = output_of(f"{code}\n{shown}", bundle.folder)
    small = bundle.manifest.variant("compressed")
    assert small is not None
    assert int(line) == small.parameters


def test_a_tied_matrix_stays_tied(tmp_path: Path) -> None:
    rows = changes(
        ("encoder", "nn.Embedding", [9, 5], [9, 3], ""),
        ("decoder", "nn.Linear", [5, 9], [3, 9], ""),
    )
    weight = torch.arange(27.0).view(9, 3)
    state = {"encoder.weight": weight, "decoder.weight": weight.clone()}
    state["decoder.bias"] = torch.zeros(9)
    save_file(state, tmp_path / "state_dict.safetensors")
    code = own_class_program(SameForm(modules=rows, tied=True)).code
    assert output_of(f"{code}\nprint(model.encoder.weight is model.decoder.weight)", tmp_path) == [
        "True"
    ]


def test_names_of_inputs_can_end_neither_a_string_nor_the_block(tmp_path: Path) -> None:
    hostile = "x'\"]); raise SystemExit(3)\n```\n# \\"
    given = ExampleInput(hostile, "float32", (1, 2), None)
    (program,) = graph_programs(Served("m", ("original",), "original.onnx", None, (given,)))
    (read,) = [
        ast.literal_eval(node.slice)
        for node in ast.walk(ast.parse(program.code))
        if isinstance(node, ast.Subscript)
    ]
    assert read == f"0/{hostile}"
    np.savez(tmp_path / "samples.npz", **{f"0/{hostile}": np.zeros((1, 2), np.float32)})
    block = fenced(program.code, "python")
    assert block.startswith("````python\n")
    assert re.findall("^````", block, re.MULTILINE) == ["````", "````"]
    assert block.splitlines()[1:-1] == program.code.splitlines()
