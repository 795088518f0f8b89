"""BiDAF: question answering by bidirectional attention flow (Seo et al., arXiv 1611.01603).

The network of the fork that Wen et al. (arXiv 1709.05027, section 4.3) compress; every direction of
every LSTM has a size of its own:

    x  = two highway layers over [character CNN; word vector]
    h  = contextual LSTM (x of the context)      u = the same LSTM (x of the question)
    s  = w . [h_t; u_j; h_t * u_j]               at tokens, without padding
    u~ = sum_j softmax_j(s) u_j                  h~ = sum_t softmax_t(max_j s) h_t
    G  = [h; u~; h * u~; h * h~]
    m1 = modelling1(modelling0(G))               start = w . [m1; G]
    a  = sum_t softmax(start)_t m1_t             m2 = output([G; m1; a; m1 * a])
    end = w . [m2; G]

Differences from the fork: words without a vector are zeros instead of a trained vector; the
character CNN has windows inside a word only (the fork's also cover padding, so that its outputs
depend on the padding); all LSTMs have dropout on their inputs (the fork's contextual LSTM has none,
its characters have), with one mask for all tokens of a text (Gal and Ghahramani, arXiv 1512.05287).
The attention has no bias, which softmax would ignore.

Padding is exact: a text's outputs do not depend on what it is batched with.

Legend: B batch, T tokens of the context, J of the question, W characters of a word, E word vector,
N tokens or words of a batch, without padding.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from isslim.compress.kinds.questions.networks.axes import LSTMS, BidafSpec, declare, narrow_places
from isslim.compress.kinds.questions.networks.bidirectional import (
    BidirectionalLstm,
    turning,
)
from isslim.compress.kinds.questions.networks.flow import Flow, Text
from isslim.compress.pruning.axes import Arrays, NarrowPlace, NetworkAxes
from isslim.compress.training.network import TrainableNetwork
from isslim.runtime.questions.question_tokenizer import CONVOLUTION_WIDTH
from isslim.types.manifest import Architecture

ALIKE = 0.5
"""Initial attention weights of h * u; all others begin at zero."""
NEVER = -1e30
"""The logit of padding, whose exponential is zero. It is finite, since infinities would turn to NaN
where all is padding."""


class Highway(nn.Module):
    """t * relu(W x + b) + (1 - t) * x, t = sigmoid(V x + c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return torch.lerp(
            inputs, torch.relu(self.transform(inputs)), torch.sigmoid(self.gate(inputs))
        )


class Bidaf(TrainableNetwork):
    """Maps a context and a question to log-probabilities of the answer's first and last token.

    Args:
        spec: the sizes.
        dropout: of every LSTM's inputs and of both heads' inputs.
    """

    architecture: ClassVar[Architecture] = "bidaf"

    def __init__(self, spec: BidafSpec, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec, self.dropout, self.regularisation = spec, dropout, dropout
        wide, flow, modelled = spec.word, 4 * sum(spec.contextual), sum(spec.modelling1)
        self.characters = nn.Embedding(spec.characters, spec.character_embedding)
        self.convolution = nn.Conv1d(spec.character_embedding, spec.filters, CONVOLUTION_WIDTH)
        self.highways = nn.ModuleList([Highway(wide), Highway(wide)])
        self.contextual = self._lstm("contextual", wide)
        self.attention = nn.Linear(3 * sum(spec.contextual), 1, bias=False)
        # Attention begins as a dot product, which is large for equal words from the start.
        nn.init.zeros_(self.attention.weight)
        nn.init.constant_(self.attention.weight[:, -sum(spec.contextual) :], ALIKE)
        self.modelling0 = self._lstm("modelling0", flow)
        self.modelling1 = self._lstm("modelling1", sum(spec.modelling0))
        self.start = nn.Linear(modelled + flow, 1)
        self.output = self._lstm("output", flow + 3 * modelled)
        self.end = nn.Linear(sum(spec.output) + flow, 1)

    def forward(
        self,
        context_vectors: Tensor,
        context_characters: Tensor,
        context_lengths: Tensor,
        question_vectors: Tensor,
        question_characters: Tensor,
        question_lengths: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The distributions of the answer's first and last token.

        Args:
            context_vectors: float32 (T, B, E); unknown words are zeros.
            context_characters: int64 (T, B, W), 0 is padding; W is at least the convolution's
                width.
            context_lengths: int (B,), at least 1.
            question_vectors: float32 (J, B, E).
            question_characters: int64 (J, B, W).
            question_lengths: int (B,), at least 1.

        Returns:
            Natural log-probabilities (B, T) of the first and of the last token; at most -1e30 at
            padding.
        """
        context = self._placed(context_vectors, context_characters, context_lengths)
        question = self._placed(question_vectors, question_characters, question_lengths)
        flow = self._flow(context, question)
        return flow.start, flow.end

    def distinct(
        self,
        vectors: Tensor,
        characters: Tensor,
        context_rows: Tensor,
        context_lengths: Tensor,
        question_rows: Tensor,
        question_lengths: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, but computes the words of a batch once each: training takes a third less.

        Args:
            vectors: float32 (N, E) of the batch's N distinct words.
            characters: int64 (N, W).
            context_rows: int64 (T, B), positions of the words; any at padding.
            context_lengths: int (B,), at least 1.
            question_rows: int64 (J, B), likewise.
            question_lengths: int (B,), at least 1.

        Returns:
            See `forward`.
        """
        words = self._words(vectors, characters)[-1]
        context = self._read((functional.embedding(context_rows, words),), context_lengths)
        question = self._read((functional.embedding(question_rows, words),), question_lengths)
        flow = self._flow(context, question)
        return flow.start, flow.end

    def site_inputs(
        self,
        context_vectors: Tensor,
        context_characters: Tensor,
        context_lengths: Tensor,
        question_vectors: Tensor,
        question_characters: Tensor,
        question_lengths: Tensor,
    ) -> dict[str, Tensor]:
        """By site of the declaration its concatenated inputs, float32 (N, D), without padding.

        Up to the contextual LSTM the rows are the tokens of the contexts, then those of the
        questions; behind it those of the contexts.

        Args:
            context_vectors: see `forward`, as for all others.
            context_characters: int64 (T, B, W).
            context_lengths: int (B,).
            question_vectors: float32 (J, B, E).
            question_characters: int64 (J, B, W).
            question_lengths: int (B,).
        """
        context = self._placed(context_vectors, context_characters, context_lengths)
        question = self._placed(question_vectors, question_characters, question_lengths)
        flow = self._flow(context, question)
        texts, found = (context, question), dict[str, Tensor]()
        for layer in range(len(self.highways)):
            read = torch.cat([text.words[layer][text.real] for text in texts])
            found |= {f"highways.{layer}.transform": read, f"highways.{layer}.gate": read}
        parts = [
            self.contextual.site_inputs(
                "contextual", text.words[-1], (text.ahead, text.back), text.lengths, text.real
            )
            for text in texts
        ]
        found |= {site: torch.cat([part[site] for part in parts]) for site in parts[0]}
        inputs = (flow.joined, torch.cat(flow.modelled[0], dim=-1), flow.beside_output)
        outputs = (*flow.modelled, flow.output)
        for name, below, output in zip(LSTMS[1:], inputs, outputs, strict=True):
            lstm: BidirectionalLstm = getattr(self, name)
            found |= lstm.site_inputs(name, below, output, context.lengths, context.real)
        found["start"] = torch.cat([*flow.modelled[1], flow.joined], dim=-1)[context.real]
        found["end"] = torch.cat([*flow.output, flow.joined], dim=-1)[context.real]
        return found

    def declaration(self) -> NetworkAxes:
        """See `declare`."""
        return declare(self.spec)

    def narrow_places(self) -> tuple[NarrowPlace, ...]:
        """Those before the inputs of the LSTMs; see `axes.narrow_places`."""
        return narrow_places(self.spec)

    def rebuilt(self, arrays: Arrays, dropout: float = 0.0) -> Self:
        """A network of other sizes and values, in evaluation mode.

        Args:
            arrays: by name, of any sizes that fit together.
            dropout: see the class.
        """
        return type(self)(BidafSpec.of(arrays), dropout).filled(arrays)

    def _lstm(self, name: str, below: int) -> BidirectionalLstm:
        return BidirectionalLstm(below, getattr(self.spec, name), self.spec.rank(name))

    def _words(self, vectors: Tensor, characters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (N, D) of both highway layers and of the contextual LSTM.

        Args:
            vectors: (N, E).
            characters: (N, W).
        """
        first = torch.cat([self._spelt(characters), vectors], dim=-1)
        second = self.highways[0](first)
        return first, second, self.highways[1](second)

    def _read(self, words: tuple[Tensor, ...], lengths: Tensor) -> Text:
        """Runs the contextual LSTM on a text, whose input is the last of `words` (T, B, D)."""
        turned = turning(lengths, len(words[-1]))
        real = torch.arange(len(words[-1]), device=lengths.device)[:, None] < lengths  # (T, B)
        ahead, back = self.contextual(self._dropped(words[-1]), turned)
        return Text(words, ahead, back, real, lengths, turned)

    def _placed(self, vectors: Tensor, characters: Tensor, lengths: Tensor) -> Text:
        """Runs a text of words, (T, B, E) and (T, B, W), up to the contextual LSTM."""
        words = self._words(vectors.flatten(0, 1), characters.flatten(0, 1))
        return self._read(tuple(word.view(*vectors.shape[:2], -1) for word in words), lengths)

    def _flow(self, context: Text, question: Text) -> Flow:
        """Runs all from the attention on."""
        joined = self._attend(context, question)  # (T, B, 4 D)
        lower = self.modelling0(self._dropped(joined), context.turned)
        upper = self.modelling1(self._dropped(torch.cat(lower, dim=-1)), context.turned)
        modelled = torch.cat(upper, dim=-1)
        start = self._head(self.start, modelled, joined, context.real)
        pooled = torch.einsum("bt,tbd->bd", start.exp(), modelled).expand_as(modelled)
        beside = torch.cat([joined, modelled, pooled, modelled * pooled], dim=-1)
        output = self.output(self._dropped(beside), context.turned)
        end = self._head(self.end, torch.cat(output, dim=-1), joined, context.real)
        return Flow(joined, (lower, upper), beside, output, start, end)

    def _spelt(self, characters: Tensor) -> Tensor:
        """The character CNN: (N, W) to (N, filters), the maximum over the windows inside the word.

        A word shorter than a window is one window, filled up with padding.
        """
        looked_up = self.characters(characters).transpose(1, 2)  # (N, C, W)
        seen = self.convolution(looked_up)  # (N, filters, windows)
        outside = characters[:, CONVOLUTION_WIDTH - 1 :] == 0
        # The first window is always inside.
        outside = torch.cat([torch.zeros_like(outside[:, :1]), outside[:, 1:]], dim=1)
        return torch.relu(seen.masked_fill(outside[:, None, :], NEVER).amax(dim=-1))

    def _attend(self, context: Text, question: Text) -> Tensor:
        """G (T, B, 4 D)."""
        h, u = context.encoded, question.encoded
        of_context, of_question, of_both = self.attention.weight.view(3, -1)
        scores = torch.einsum("tbd,jbd->btj", h * of_both, u)  # (B, T, J)
        scores = scores + (h @ of_context).T[:, :, None] + (u @ of_question).T[:, None, :]
        scores = scores.masked_fill(~question.real.T[:, None, :], NEVER)
        attended = torch.einsum("btj,jbd->tbd", scores.softmax(dim=-1), u)
        most = scores.amax(dim=-1).masked_fill(~context.real.T, NEVER)  # (B, T)
        pooled = torch.einsum("bt,tbd->bd", most.softmax(dim=-1), h)
        return torch.cat([h, attended, h * attended, h * pooled], dim=-1)

    def _head(self, head: nn.Module, own: Tensor, joined: Tensor, real: Tensor) -> Tensor:
        """Log-probabilities (B, T)."""
        logits = head(self._dropped(torch.cat([own, joined], dim=-1))).squeeze(-1)  # (T, B)
        return torch.log_softmax(logits.masked_fill(~real, NEVER).T, dim=-1)

    def _dropped(self, values: Tensor) -> Tensor:
        """Dropout on (T, B, D) with one mask for all tokens of a text.

        It is as good as a mask for each token and needs fewer random numbers.
        """
        if not self.training or self.dropout == 0:
            return values
        return values * functional.dropout(values.new_ones(1, *values.shape[1:]), self.dropout)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, with torch's hooks."""
        result: tuple[Tensor, Tensor] = super().__call__(*inputs)
        return result
