"""lm-evaluation-harness against the service; minutes, for its installation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import sentences

pytestmark = pytest.mark.long
TEXTS = [*sentences(4, 9).split("\n")[:4], sentences(60, 10), "xyzzy plugh"]
CHOICES = [
    {"question": "the old man", "choices": [" sees the river", " the sees"], "answer": 0},
    {"question": "xyzzy", "choices": [" xyzzy", " the cat"], "answer": 1},
    {"question": "", "choices": ["the cat likes nothing", "nothing"], "answer": 0},
]
PROMPTS = [{"question": "the cat", "answer": "none"}, {"question": "xyzzy", "answer": "none"}]
TASKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "tiny_mc": (
        CHOICES,
        {
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc"}],
        },
    ),
    "tiny_roll": (
        [{"text": text} for text in TEXTS],
        {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "word_perplexity"}],
        },
    ),
    "tiny_gen": (
        PROMPTS,
        {
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
        },
    ),
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks: one of choices, one of whole texts, one of texts that are continued."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, (documents, options) in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(f"{json.dumps(each)}\n" for each in documents))
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
        task = {"task": name, **source, "test_split": "test", **options}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.mark.parametrize("concurrent", [1, 2])
def test_harness_finds_the_tokenizer_and_sums_are_those_of_score(
    concurrent: int, clients: Path, url: str, tasks: Path, tmp_path: Path
) -> None:
    address = f"{url}/models/tiny:original/v1/completions"
    options = f"model=tiny:original,base_url={address},max_length=512,num_concurrent={concurrent}"
    command = [clients / "lm_eval", "run", "--model", "local-completions", "--model_args", options]
    command += ["--include_path", tasks, "--tasks", ",".join(TASKS), "--batch_size", "4"]
    command += ["--output_path", tmp_path / "out", "--log_samples"]
    done = subprocess.run(
        command,
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    assert "Auto-detected remote tokenizer support" in log
    found = {name: _samples(tmp_path / "out", name) for name in TASKS}
    asked = {"model": "tiny", "texts": TEXTS[:-1], "variants": ["original"]}
    scored = httpx.post(f"{url}/score", json=asked).json()["variants"][0]["texts"]
    sums = [float(each["filtered_resps"][0]) for each in found["tiny_roll"]]
    assert sums[:-1] == pytest.approx([each["log_prob"] for each in scored], abs=1e-6)
    assert len(found["tiny_mc"]) == len(CHOICES)
    assert found["tiny_mc"][0]["acc"] == 1.0
    assert all("\n" not in each["filtered_resps"][0] for each in found["tiny_gen"])


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    """What the harness recorded of each document, in their order."""
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    return sorted(map(json.loads, file.read_text().splitlines()), key=lambda each: each["doc_id"])
