"""Three modules of one's own through `isslim.compress`, each trained one epoch further.

    python -m examples.three_modules

A word language model on the documentation of Python's builtins, a tagger with packed sequences and
a CRNN on made-up data. It takes about a minute; `docs/library.md` shows what it prints.
"""

from __future__ import annotations

import builtins
import inspect
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import isslim

Calls = Sequence[tuple[Tensor, ...]]
Loss = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
CLASSES = 4


class WordModel(nn.Module):
    """Words (B, T) to the scores of each next word (B, T, V)."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 48)
        self.layers = nn.LSTM(48, 64, 2, batch_first=True)
        self.decoder = nn.Linear(64, words)

    def forward(self, words: Tensor) -> Tensor:
        """Scores of the next words."""
        scores: Tensor = self.decoder(self.layers(self.embedding(words))[0])
        return scores


class Tagger(nn.Module):
    """Sentences (B, T) and their lengths (B,), packed, to the scores of tags (B, T, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.encoder = nn.LSTM(16, 40, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(80, CLASSES)

    def forward(self, sentences: Tensor, lengths: Tensor) -> Tensor:
        """Scores of the tags."""
        packed = pack_padded_sequence(
            self.embedding(sentences), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        scores: Tensor = self.tags(outputs)
        return scores


class Crnn(nn.Module):
    """Images (B, 1, 8, W), whose columns are the steps, to scores (B, W / 2, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.recurrent = nn.LSTM(32, 32, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the columns' classes."""
        columns = self.features(images).flatten(1, 2).transpose(1, 2)
        scores: Tensor = self.scores(self.recurrent(columns)[0])
        return scores


def word_calls() -> tuple[Calls, int]:
    """Batches of the documentation of Python's builtins, word by word, and the number of words."""
    texts = [inspect.getdoc(each) or "" for each in vars(builtins).values()]
    for kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset, int, float):
        texts += [inspect.getdoc(each) or "" for each in vars(kind).values()]
    words = " ".join(texts).split()
    ids = {word: index for index, (word, _) in enumerate(Counter(words).most_common(400), 1)}
    stream = torch.tensor([ids.get(word, 0) for word in words])
    calls = []
    for start in range(0, len(stream) - 300, 300):
        steps = 20 if start % 600 else 25  # of two lengths, so that the graph takes any
        piece = stream[start : start + 300]
        calls.append((piece[: len(piece) // steps * steps].reshape(-1, steps),))
    return calls, len(ids) + 1


def sentence_calls(count: int, seed: int) -> Calls:
    """Made-up sentences of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    calls = []
    for _ in range(count):
        lengths = torch.randint(5, 13, (8,), generator=generator)
        ids = torch.randint(40, (8, int(lengths.max())), generator=generator)
        calls.append((ids, lengths))
    return calls


def image_calls(count: int, seed: int) -> Calls:
    """Made-up images of different widths."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(8, 1, 8, 16 + 2 * (n % 3), generator=generator),) for n in range(count)]


def word_loss(module: nn.Module, call: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of each next word."""
    return cross_entropy(module(*call)[:, :-1].flatten(0, 1), call[0][:, 1:].flatten())


def tag_loss(module: nn.Module, call: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of tags that count the words of a kind so far."""
    wanted = (call[0] < 12).cumsum(1) % CLASSES
    return cross_entropy(module(*call).flatten(0, 1), wanted.flatten())


def image_loss(module: nn.Module, call: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of classes that count the bright columns so far."""
    bright = call[0].mean((1, 2)).unfold(1, 2, 2).mean(2) > 0
    return cross_entropy(module(*call).flatten(0, 1), (bright.cumsum(1) % CLASSES).flatten())


def train(module: nn.Module, calls: Calls, loss: Loss, epochs: int = 1) -> None:
    """Passes of Adam over the calls; the module is in evaluation mode afterwards."""
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    module.train()
    for call in list(calls) * epochs:
        optimizer.zero_grad()
        loss(module, call).backward()
        optimizer.step()
    module.eval()


def mean_loss(module: nn.Module, calls: Calls, loss: Loss) -> float:
    """The mean over calls, in nats."""
    with torch.no_grad():
        return sum(float(loss(module, call)) for call in calls) / len(calls)


def difference(module: nn.Module, path: Path, calls: Calls) -> float:
    """The largest difference between a module's outputs and those of a graph."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    largest = 0.0
    for call in calls:
        inputs = {name: each.numpy() for name, each in zip(names, call, strict=True)}
        with torch.no_grad():
            gap = module(*call) - torch.from_numpy(session.run(None, inputs)[0])
        largest = max(largest, float(gap.abs().max()))
    return largest


def _is_layer(part: nn.Module) -> bool:
    return isinstance(part, nn.Embedding | nn.LSTM | nn.Linear)


def show(module: nn.Module, calls: Calls, fresh: Calls, loss: Loss, epochs: int) -> None:
    """Trains, compresses and trains on one module, and prints what came of it.

    Args:
        module: untrained.
        calls: it is trained and compressed on them.
        fresh: other calls, for the losses that are printed.
        loss: of one call.
        epochs: of training before.
    """
    train(module, calls, loss, epochs)
    # Without distillation: it is trained further here, on what it was trained on.
    with isslim.compress(module, calls, budget={"limit": "size", "value": 0.5}, minutes=0) as made:
        small = made.module
        with tempfile.TemporaryDirectory() as folder:
            gap = difference(small, made.to_onnx(Path(folder) / "small.onnx"), fresh)
        before, cut = mean_loss(module, fresh, loss), mean_loss(small, fresh, loss)
        train(small, calls, loss)
        lines = [
            f"== {type(module).__name__}",
            *(line for line in made.summary().splitlines() if " -> " in line),
            *(f"{name}: {part}" for name, part in small.named_children() if _is_layer(part)),
            f"largest difference between module and ONNX Runtime on fresh calls: {gap:.1e}",
            f"loss on fresh calls: {before:.3f}; at half the size {cut:.3f}; one epoch later "
            f"{mean_loss(small, fresh, loss):.3f}",
            "",
        ]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Shows all three."""
    torch.manual_seed(0)
    calls, words = word_calls()
    rest = [call for index, call in enumerate(calls) if index % 5]
    show(WordModel(words), rest, calls[::5], word_loss, 3)
    show(Tagger(), sentence_calls(60, 0), sentence_calls(20, 1), tag_loss, 10)
    show(Crnn(), image_calls(60, 0), image_calls(20, 1), image_loss, 10)


if __name__ == "__main__":
    main()
