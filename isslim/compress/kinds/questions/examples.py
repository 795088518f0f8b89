"""Encoded questions, and batches of about equal lengths.

Every distinct token is encoded once, by the codec that the service uses; a text is then a row of
ids of distinct tokens, and a batch is two look-ups.

Legend: B batch, T tokens of a context, J of a question, W characters of a word, E word vector, N
distinct tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isslim.compress.kinds.questions.squad import Paragraph, Unrecovered, recover
from isslim.runtime.questions.question_tokenizer import PassageCodec, Token, tokenize

QuestionBatch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Example:
    """One question about one context.

    Attributes:
        id: of the question in its data set.
        question: its text.
        context: the text that answers are cut from.
        tokens: of the context.
        context_row: int32 (T,), ids of distinct tokens.
        question_row: int32 (J,), likewise.
        golden: the texts of the golden answers.
        span: first and last token of the first answer that is a span of tokens; None where there is
            none.
    """

    id: str
    question: str
    context: str
    tokens: tuple[Token, ...]
    context_row: NDArray[np.int32]
    question_row: NDArray[np.int32]
    golden: tuple[str, ...]
    span: tuple[int, int] | None


@dataclass
class Questions:
    """Examples of one set, with the table of their distinct tokens.

    Attributes:
        examples: the questions.
        vectors: float32 (N, E), by id of a distinct token.
        characters: int64 (N, W), likewise.
        unrecovered: numbers of answers that are no span of tokens, by reason.
    """

    examples: list[Example]
    vectors: NDArray[np.float32]
    characters: NDArray[np.int64]
    unrecovered: Counter[Unrecovered] = field(default_factory=Counter)

    def inputs(self, chosen: Sequence[int], device: torch.device = CPU) -> QuestionBatch:
        """A batch as arguments of `Bidaf.forward`, padded to its longest example.

        Args:
            chosen: positions of B examples.
            device: of the tensors.
        """
        context = self._filled([self.examples[index].context_row for index in chosen])
        question = self._filled([self.examples[index].question_row for index in chosen])
        return _sent((*context, *question), device)

    def distinct(self, chosen: Sequence[int], device: torch.device = CPU) -> QuestionBatch:
        """The same batch as arguments of `Bidaf.distinct`.

        Args:
            chosen: positions of B examples.
            device: of the tensors.
        """
        examples = [self.examples[index] for index in chosen]
        rows = [example.context_row for example in examples] + [
            example.question_row for example in examples
        ]
        words, places = np.unique(np.concatenate(rows), return_inverse=True)
        pieces = np.split(places, np.cumsum([len(row) for row in rows])[:-1])
        context, question = _stacked(pieces[: len(examples)]), _stacked(pieces[len(examples) :])
        table = torch.from_numpy(self.vectors[words]), torch.from_numpy(self.characters[words])
        return _sent((*table, *context, *question), device)

    def spread(self, most: int) -> Questions:
        """At most `most` of the examples, spread evenly over all."""
        count = len(self.examples)
        chosen = sorted({int(index) for index in np.linspace(0, count - 1, min(count, most))})
        return replace(self, examples=[self.examples[index] for index in chosen])

    def spans(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Positions of the answers' first and last tokens, int64 (B,) each.

        Raises:
            ValueError: when a chosen example has no span.
        """
        found = [self.examples[index].span for index in chosen]
        if any(span is None for span in found):
            raise ValueError("an example without an answer span cannot be trained on")
        first, last = torch.tensor([span for span in found if span is not None]).T
        return first, last

    def _filled(self, rows: list[NDArray[np.int32]]) -> tuple[Tensor, Tensor, Tensor]:
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int32)
        steps = int(lengths.max())
        vectors = np.zeros((steps, len(rows), self.vectors.shape[1]), np.float32)
        characters = np.zeros((steps, len(rows), self.characters.shape[1]), np.int64)
        for column, row in enumerate(rows):
            vectors[: len(row), column] = self.vectors[row]
            characters[: len(row), column] = self.characters[row]
        return torch.from_numpy(vectors), torch.from_numpy(characters), lengths


def prepare(paragraphs: Sequence[Paragraph], codec: PassageCodec) -> Questions:
    """Encodes questions; those without a token in question or context are left out.

    Args:
        paragraphs: contexts and their questions.
        codec: encodes distinct tokens.

    Raises:
        ValueError: when no question is left.
    """
    numbers: dict[str, int] = {}
    examples: list[Example] = []
    unrecovered: Counter[Unrecovered] = Counter()

    def numbered(tokens: Sequence[Token]) -> NDArray[np.int32]:
        return np.array(
            [numbers.setdefault(token.text, len(numbers)) for token in tokens], np.int32
        )

    for paragraph in paragraphs:
        tokens = tuple(tokenize(paragraph.context))
        row = numbered(tokens)
        for question in paragraph.questions:
            asked = numbered(tokenize(question.text))
            if not len(row) or not len(asked):
                continue
            spans = [recover(paragraph.context, tokens, answer) for answer in question.answers]
            unrecovered.update(each for each in spans if isinstance(each, Unrecovered))
            span = next((each for each in spans if not isinstance(each, Unrecovered)), None)
            golden = tuple(answer.text for answer in question.answers)
            examples.append(
                Example(
                    question.id, question.text, paragraph.context, tokens, row, asked, golden, span
                )
            )
    if not examples:
        raise ValueError("there is no question with a context")
    vectors, characters = codec.encode(list(numbers))
    return Questions(examples, vectors, characters, unrecovered)


def batches(
    lengths: Sequence[int], size: int, generator: np.random.Generator | None = None
) -> list[list[int]]:
    """Groups texts into batches of about equal lengths.

    Args:
        lengths: of the texts, in tokens.
        size: B; the last batch may be smaller.
        generator: shuffles; None: the batches are in the order of length.

    Returns:
        Positions, each once. Shuffled batches are sorted by length within 50 batches of random
        texts, so that batches differ from epoch to epoch.
    """
    if generator is None:
        return _cut(sorted(range(len(lengths)), key=lengths.__getitem__), size)
    order = generator.permutation(len(lengths)).tolist()
    found: list[list[int]] = []
    for pool in _cut(order, 50 * size):
        found += _cut(sorted(pool, key=lengths.__getitem__), size)
    return [found[index] for index in generator.permutation(len(found))]


def common_characters(paragraphs: Sequence[Paragraph], at_least: int) -> list[str]:
    """The visible characters that are frequent enough to learn vectors for, by frequency.

    Args:
        paragraphs: the texts.
        at_least: number of occurrences.
    """
    counted: Counter[str] = Counter()
    for paragraph in paragraphs:
        counted.update(paragraph.context)
        for question in paragraph.questions:
            counted.update(question.text)
    often = [
        (-count, each)
        for each, count in counted.items()
        if count >= at_least and not each.isspace()
    ]
    return [each for _, each in sorted(often)]


def _sent(inputs: QuestionBatch, device: torch.device) -> QuestionBatch:
    first, second, third, fourth, fifth, sixth = (each.to(device) for each in inputs)
    return first, second, third, fourth, fifth, sixth


def _stacked(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Rows as columns, padded with zeros, and their lengths."""
    columns = [torch.from_numpy(row) for row in rows]
    return nn.utils.rnn.pad_sequence(columns), torch.tensor(
        [len(row) for row in rows], dtype=torch.int32
    )


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
