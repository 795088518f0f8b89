"""The README's program: a module is compressed and trained on, in at most twelve lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

README = Path(__file__).parents[1] / "README.md"
TOKENS, TAGS = 12, 4
Batch = tuple[Tensor, Tensor]


class Tagger(nn.Module):
    """A tag says how a token compares with its two neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 12)
        self.lstm = nn.LSTM(12, 32, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(64, TAGS)

    def forward(self, tokens: Tensor) -> Tensor:
        tags: Tensor = self.tags(self.lstm(self.embedding(tokens))[0])
        return tags


def batches(count: int, seed: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        tokens = torch.randint(TOKENS, (4 + number % 5, 8 + number % 7), generator=generator)
        before, after = tokens.roll(1, dims=1), tokens.roll(-1, dims=1)
        made.append((tokens, 2 * (before < tokens) + (after < tokens)))
    return made


def loss(module: nn.Module, some: list[Batch]) -> float:
    module.eval()
    with torch.no_grad():
        losses = [cross_entropy(module(x).flatten(0, 1), y.flatten()) for x, y in some]
    return float(torch.stack(losses).mean())


def trained() -> Tagger:
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for x, y in batches(150, seed=1):
        optimizer.zero_grad()
        cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()
    return model


def test_program_compresses_a_module_and_trains_it_one_epoch_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (program,) = [block for block in blocks if "isslim.compress(" in block]
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    torch.save(trained().state_dict(), "tagger.pt")
    given = batches(30, seed=2)
    before, _, after = program.partition("module = ")
    # A program of its own; what `exec` is given is what a user's program has by then.
    names = {"Tagger": Tagger, "batches": given}
    exec(before, names)
    small = names["small"].module  # type: ignore[attr-defined]
    first = loss(small, given)
    exec("module = " + after, names)
    module = names["module"]
    assert type(module) is Tagger
    assert module.lstm.hidden_size < 32
    assert loss(module, given) < first
    assert "parameters" in capsys.readouterr().out
