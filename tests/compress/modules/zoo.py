"""Small modules of many shapes, with what they are called with and a loss to train them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, TAGS = 20, 5
Call = tuple[Any, ...]


class LanguageModel(nn.Module):
    """The layout of PyTorch's own example: state in and out, decoder tied or not."""

    def __init__(self, *, tied: bool = False, width: int = 12, units: int = 12) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.encoder = nn.Embedding(WORDS, width)
        self.rnn = nn.LSTM(width, units, 2, dropout=0.5)
        self.decoder = nn.Linear(units, WORDS)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(
        self, tokens: Tensor, hidden: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        embedded = self.drop(self.encoder(tokens))
        made, hidden = self.rnn(embedded, hidden)
        return log_softmax(self.decoder(self.drop(made)), -1), hidden


class PackedTagger(nn.Module):
    """Sequences of different lengths in one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.lstm = nn.LSTM(8, 12, 2, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(24, TAGS)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        made, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        result: Tensor = self.scores(made)
        return result


class Crnn(nn.Module):
    """Text recognition: convolutions over an image, columns as steps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.rnn = nn.LSTM(6 * 4, 10, 2, bidirectional=True)
        self.scores = nn.Linear(20, TAGS)

    def forward(self, image: Tensor) -> Tensor:
        found = self.features(image)  # (B, C, H, W)
        steps = found.flatten(1, 2).permute(2, 0, 1)
        return log_softmax(self.scores(self.rnn(steps)[0]), -1)


class Classifier(nn.Module):
    """The last state decides."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.gru = nn.GRU(8, 14, batch_first=True)
        self.out = nn.Linear(14, TAGS)

    def forward(self, ids: Tensor) -> Tensor:
        _, last = self.gru(self.embedding(ids))
        result: Tensor = self.out(last[-1])
        return result


class Series(nn.Module):
    """A plain RNN without biases, of which a linear layer without a bias reads the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 12, nonlinearity="tanh", batch_first=True, bias=False)
        self.out = nn.Linear(12, 2, bias=False)

    def forward(self, series: Tensor) -> Tensor:
        made, _ = self.rnn(series)
        result: Tensor = self.out(made[:, -1])
        return result


class Attentive(nn.Module):
    """A weighted mean of all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 12, batch_first=True)
        self.weigh = nn.Linear(12, 1)
        self.out = nn.Linear(12, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        made, _ = self.lstm(series)
        weights = torch.softmax(self.weigh(torch.tanh(made)), 1)
        result: Tensor = self.out((weights * made).sum(1))
        return result


class Normed(nn.Module):
    """Layer normalisation between two layers, whose units can therefore not be removed singly."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(4, 8, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.second = nn.LSTM(8, 12, batch_first=True)
        self.out = nn.Linear(12, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        made, _ = self.first(series)
        result: Tensor = self.out(self.second(self.norm(made))[0])
        return result


class Residual(nn.Module):
    """What goes into a layer is added to what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 12)
        self.layers = nn.ModuleList(nn.LSTM(12, 12, batch_first=True) for _ in range(2))
        self.out = nn.Linear(12, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        state = self.project(series)
        for layer in self.layers:
            state = state + layer(state)[0]
        result: Tensor = self.out(state)
        return result


class OutputOnly(nn.LSTM):
    """A subclass that drops the states, so that it fits into nn.Sequential."""

    def forward(self, series: Tensor) -> Tensor:  # type: ignore[override]
        made: Tensor = super().forward(series)[0]
        return made


def sequential() -> nn.Module:
    """Layers in a container, one of them of a subclass."""
    return nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), OutputOnly(8, 14, batch_first=True), nn.Linear(14, TAGS)
    )


class Twice(nn.Module):
    """One layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.back = nn.Linear(12, 6)
        self.out = nn.Linear(12, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        once = self.back(self.lstm(series)[0])
        result: Tensor = self.out(self.lstm(once)[0])
        return result


class PackedClassifier(nn.Module):
    """The last states of both directions decide; the outputs of the steps are read by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.gru = nn.GRU(8, 10, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(20, TAGS)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        result: Tensor = self.out(torch.cat([last[-2], last[-1]], 1))
        return result


class LearnedState(nn.Module):
    """Its initial states are parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(2, 1, 10) / 2)
        self.cell = nn.Parameter(torch.randn(2, 1, 10) / 2)
        self.lstm = nn.LSTM(4, 10, 2, batch_first=True)
        self.out = nn.Linear(10, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        batch = series.shape[0]
        state = [each.expand(-1, batch, -1).contiguous() for each in (self.start, self.cell)]
        result: Tensor = self.out(self.lstm(series, tuple(state))[0])
        return result


class Translator(nn.Module):
    """The encoder's states begin the decoder, which attends to the encoder's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.encoder = nn.LSTM(8, 10, 2, batch_first=True)
        self.decoder = nn.LSTM(8, 10, 2, batch_first=True)
        self.out = nn.Linear(20, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, states = self.encoder(self.embedding(source))
        made, _ = self.decoder(self.embedding(target), states)
        attended = torch.softmax(made @ memory.transpose(1, 2), -1) @ memory
        result: Tensor = self.out(torch.cat([made, attended], -1))
        return result


class ConvolvedAfter(nn.Module):
    """Batch normalisation and a convolution over the units, whose weights shrink too."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 10, batch_first=True)
        self.norm = nn.BatchNorm1d(10)
        self.conv = nn.Conv1d(10, 6, 3, padding=1)
        self.after = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, TAGS)

    def forward(self, series: Tensor) -> Tensor:
        made = self.norm(self.lstm(series)[0].transpose(1, 2))
        found = torch.relu(self.after(self.conv(made)))
        result: Tensor = self.out(found.transpose(1, 2))
        return result


@dataclass(frozen=True)
class Example:
    """A module with its inputs and what it is trained on.

    Attributes:
        make: the module.
        call: one call of it, of other sizes and numbers for each index.
        loss: how wrong it is on a call; always the same for equal calls.
    """

    make: Callable[[], nn.Module]
    call: Callable[[int], Call]
    loss: Callable[[nn.Module, Call], Tensor]

    def calls(self, count: int, seed: int = 0) -> list[Call]:
        """Some calls."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return [self.call(index) for index in range(count)]

    def trained(self, steps: int = 40) -> nn.Module:
        """The module after some training: units of random weights are all alike."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = self.make().train()
            train(self, module, self.calls(8, seed=1), steps)
        return module.eval()


def train(example: Example, module: nn.Module, calls: list[Call], steps: int) -> None:
    """Trains on calls in turn."""
    trained = [each for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(trained, 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        example.loss(module, calls[step % len(calls)]).backward()
        optimizer.step()


def _ids(*shape: int) -> Tensor:
    return torch.randint(WORDS, shape)


def _scores_loss(scores: Tensor, wanted: Tensor) -> Tensor:
    return cross_entropy(scores.flatten(0, -2), wanted.flatten())


def _wanted(series: Tensor) -> Tensor:
    """A class for each step of a series (B, T, I): how often its first number was positive."""
    return (series[..., 0] > 0).cumsum(1) % TAGS


def _language(module: nn.Module, call: Call) -> Tensor:
    tokens, (hidden, _) = call
    # What a fresh state is of is up to the module's own size.
    units = next(part for part in module.modules() if isinstance(part, nn.LSTM)).hidden_size
    state = hidden.new_zeros((*hidden.shape[:2], units))
    made, _ = module(tokens, (state, state.clone()))
    return _scores_loss(made, tokens.cumsum(0) % WORDS)


def _language_call(index: int) -> Call:
    batch = 1 + index % 3
    state = torch.rand(2, batch, 12) - 0.5, torch.rand(2, batch, 12) - 0.5
    return _ids(6 + index % 4, batch), state


def _packed_call(index: int) -> Call:
    batch, steps = 2 + index % 3, 6 + index % 4
    lengths = torch.randint(2, steps, (batch,))
    lengths[index % batch] = steps
    return _ids(batch, steps), lengths


def _series_call(width: int) -> Callable[[int], Call]:
    return lambda index: (torch.randn(2 + index % 3, 5 + index % 4, width),)


def _on_series(module: nn.Module, call: Call) -> Tensor:
    wanted = _wanted(call[0])
    made = module(*call)
    return _scores_loss(made, wanted if made.dim() == 3 else wanted[:, -1])


EXAMPLES = {
    "language model": Example(LanguageModel, _language_call, _language),
    "tied language model": Example(lambda: LanguageModel(tied=True), _language_call, _language),
    "packed tagger": Example(
        PackedTagger,
        _packed_call,
        lambda module, call: _scores_loss(module(*call), call[0].cumsum(1) % TAGS),
    ),
    "crnn": Example(
        Crnn,
        lambda index: (torch.rand(1 + index % 3, 1, 8, 10 + 2 * (index % 4)),),
        lambda module, call: -module(*call)[..., 1].mean(),
    ),
    "gru classifier": Example(
        Classifier,
        lambda index: (_ids(2 + index % 3, 5 + index % 4),),
        lambda module, call: _scores_loss(module(*call), call[0].sum(1) % TAGS),
    ),
    "plain rnn": Example(
        Series,
        _series_call(3),
        lambda module, call: (module(*call) - call[0].cumsum(1)[:, -1, :2]).square().mean(),
    ),
    "attention": Example(Attentive, _series_call(4), _on_series),
    "layer norm": Example(Normed, _series_call(4), _on_series),
    "residual": Example(Residual, _series_call(4), _on_series),
    "sequential": Example(sequential, _series_call(4), _on_series),
    "packed classifier": Example(
        PackedClassifier,
        _packed_call,
        lambda module, call: _scores_loss(module(*call), call[0].sum(1) % TAGS),
    ),
    "learned state": Example(LearnedState, _series_call(4), _on_series),
    "translator": Example(
        Translator,
        lambda index: (_ids(2 + index % 3, 5 + index % 4), _ids(2 + index % 3, 4 + index % 3)),
        lambda module, call: _scores_loss(module(*call), (call[1] + call[0][:, :1]) % WORDS),
    ),
    "convolved": Example(ConvolvedAfter, _series_call(4), _on_series),
    "used twice": Example(Twice, _series_call(6), _on_series),
}
