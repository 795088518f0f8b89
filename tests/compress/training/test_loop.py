"""The training loop: it learns, resumes bit for bit, distils, and stops when the loss is no number."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from compress.networks.lstm import LstmLanguageModel, LstmSpec
from compress.training import TrainingPlan, in_streams, perplexity, train

SPEC = LstmSpec(12, 8, (10, 8))
PLAN = TrainingPlan(epochs=3, batch=4, steps=10, optimizer="adamw", learning_rate=1e-2, clip=0.5, seed=3)


def counting_text(length: int) -> torch.Tensor:
    """A language in which the next token is certain: 0 1 2 ... 11 0 1 ..."""
    return torch.arange(length) % 12


def fresh(dropout: float = 0.1) -> LstmLanguageModel:
    network = LstmLanguageModel(SPEC, dropout)
    network.initialise(0.1, torch.Generator().manual_seed(0))
    return network


def test_training_learns_a_certain_language() -> None:
    network = fresh()
    assert perplexity(network, counting_text(500)) == pytest.approx(12, rel=0.05)
    train(network, counting_text(6000), PLAN)
    assert perplexity(network, counting_text(500)) < 3


def test_perplexity_equals_a_token_by_token_sum() -> None:
    network, tokens = fresh().eval(), torch.randint(12, (101,), generator=torch.Generator().manual_seed(1))
    state, total = network.zero_state(1), 0.0
    with torch.no_grad():
        for position in range(100):
            logits, state = network(tokens[position : position + 1, None], state)
            total -= float(logits[0, 0].log_softmax(-1)[tokens[position + 1]])
    assert perplexity(network, tokens, streams=1, steps=7) == pytest.approx(math.exp(total / 100), rel=1e-5)


class Stopped(Exception):
    """Stands for the kill."""


def test_resumed_run_is_the_undisturbed_run_bit_for_bit(tmp_path: Path) -> None:
    undisturbed = fresh()
    train(undisturbed, counting_text(2000), PLAN)
    killed, checkpoint = fresh(), tmp_path / "run.checkpoint"
    often = TrainingPlan(**{**PLAN.__dict__, "checkpoint_minutes": 0.0})

    def stop(done: float, message: str) -> None:
        if done > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        train(killed, counting_text(2000), often, checkpoint=checkpoint, progress=stop)
    resumed = fresh()
    train(resumed, counting_text(2000), often, checkpoint=checkpoint)
    for left, right in zip(undisturbed.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_student_follows_its_teacher_and_not_the_labels() -> None:
    teacher = fresh(0.0)
    train(teacher, counting_text(6000), PLAN)
    student, noise = fresh(0.0), torch.randint(12, (6000,), generator=torch.Generator().manual_seed(5))
    # On random text the labels say nothing; all that can be learned is what the teacher would say.
    soft = TrainingPlan(**{**PLAN.__dict__, "soft": 1.0})
    train(student, noise, soft, teacher=teacher)
    assert perplexity(student, counting_text(500)) < 4


def test_corpus_too_short_for_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 44"):
        train(fresh(), counting_text(43), PLAN)


def test_diverging_run_stops() -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(
            fresh(),
            counting_text(3000),
            TrainingPlan(
                epochs=40, batch=4, steps=10, optimizer="adamw", learning_rate=1e30, clip=1e30, weight_decay=1.0
            ),
        )


def test_streams_are_contiguous() -> None:
    assert in_streams(torch.arange(11), 2).t().tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
