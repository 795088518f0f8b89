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

from isslim.card.markdown import fenced
from isslim.card.program_section import program_section
from isslim.card.usage_section import served_of
from isslim.compress.card.card import write_card
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
from isslim.types.kinds.programs import EXAMPLE_TEXT, graph_programs, language_programs
from isslim.types.report import Report
from tests import reader, tagger
from tests.conftest import Published

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


def onnx_block(card: str) -> str:
    """The card's block that uses ONNX Runtime, which is on the documents' page as well."""
    block = python_blocks(card)[0]
    assert block in python_blocks(PAGE.read_text()), "the page shows the same code as the card"
    return block


def test_a_language_models_code_scores_and_continues_a_text(
    published: Published, tmp_path: Path
) -> None:
    bundle = BundleStore(published.settings).open(published.bundle_id)
    folder = copied(bundle, tmp_path / "bundle")
    code, file = onnx_block(card_of(folder)), bundle.manifest.variants[-1].file
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
    session = QuestionSession(bundle.path(bundle.manifest.variants[-1].file))
    asked = tokenize_question(
        "Where does the Wye rise?", "The river Wye rises in Wales and flows into the Severn."
    )
    found = answer(session, encode_question(PassageCodec.from_folder(folder), asked), top_k=3)
    assert lines == [f"{each.text} {each.score} {each.text}" for each in found.answers]


def test_a_graphs_code_runs_it_on_the_run_that_was_timed(tmp_path: Path) -> None:
    made = tagger.publish(tmp_path / "home")
    bundle = BundleStore(made.settings).open(made.bundle_id)
    folder = copied(bundle, tmp_path / "bundle")
    lines = output_of(onnx_block(card_of(folder)), folder)
    session = GraphSession(bundle.path(bundle.manifest.variants[-1].file))
    outputs = session.run(read_runs(bundle.path("samples.npz").read_bytes())[0])
    assert lines == [f"{name} {each.dtype} {each.shape}" for name, each in outputs.items()]


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
