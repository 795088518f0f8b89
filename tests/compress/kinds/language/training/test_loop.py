"""The training loop: it learns, distils, rolls back, shrinks, and leaves its input alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.errors import TrainingDiverged
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import in_streams, perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.state import detach
from tests.compress.kinds.language.training.language import (
    KEPT,
    PLAN,
    Executioner,
    counting_text,
    fresh,
    noisy_text,
    same,
)


def test_training_learns_a_certain_language_and_leaves_its_input_alone() -> None:
    network = fresh()
    assert perplexity(network, counting_text(500)) == pytest.approx(12, rel=0.05)
    trained = train(network, counting_text(6000), PLAN, valid=counting_text(500))
    assert same(network, fresh())
    assert not trained.network.training
    assert perplexity(trained.network, counting_text(500)) < 3
    assert trained.epochs[-1].valid_perplexity == perplexity(trained.network, counting_text(500))
    assert [record.epoch for record in trained.epochs] == [1, 2, 3]
    assert trained.epochs[0].units == {"embedding": 8, "units:lstm0": 10, "units:lstm1": 8}
    assert trained.epochs[0].training_perplexity > trained.epochs[2].training_perplexity


def test_loop_equals_plain_steps_written_out() -> None:
    plan = TrainingPlan(
        epochs=2,
        batch=3,
        steps=5,
        learning_rate=0.5,
        clip=0.1,
        schedule="constant",
        weight_decay=1e-3,
    )
    network, tokens = fresh(0.0).train(), noisy_text(100)
    trained = train(network, tokens, plan)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, weight_decay=1e-3)
    streams = tokens[:99].view(3, 33).t()
    for _ in range(2):
        state = network.zero_state(3)
        for start in range(0, 30, 5):
            logits, state = network(streams[start : start + 5], detach(state))
            log_probabilities = logits.log_softmax(-1).gather(
                -1, streams[start + 1 : start + 6, :, None]
            )
            optimizer.zero_grad()
            (-log_probabilities.mean()).backward()  # type: ignore[no-untyped-call]
            total = math.sqrt(
                sum(
                    float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None
                )
            )
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter.grad *= min(1.0, 0.1 / (total + 1e-6))
            optimizer.step()
    for expected, found in zip(network.parameters(), trained.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_sum_over_steps_is_the_mean_with_scaled_rate_and_clip() -> None:
    # PAPER 1.3: rate 1 and clip 10 for a sum over 35 steps are rate 35 and clip 0.286 for the mean.
    summed = TrainingPlan(
        epochs=2, batch=4, steps=10, learning_rate=1.0, clip=0.2, loss="sum_over_steps"
    )
    meant = replace(summed, learning_rate=10.0, clip=0.02, loss="mean")
    left, right = (train(fresh(), noisy_text(1000), plan).network for plan in (summed, meant))
    for expected, found in zip(left.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    wrong = train(fresh(), noisy_text(1000), replace(meant, clip=0.2)).network
    assert not torch.allclose(
        next(left.parameters()), next(wrong.parameters()), rtol=1e-3, atol=1e-4
    )


def test_perplexity_equals_a_token_by_token_sum() -> None:
    network, tokens = (
        fresh().eval(),
        torch.randint(12, (101,), generator=torch.Generator().manual_seed(1)),
    )
    state, total = network.zero_state(1), 0.0
    with torch.no_grad():
        for position in range(100):
            logits, state = network(tokens[position : position + 1, None], state)
            total -= float(logits[0, 0].log_softmax(-1)[tokens[position + 1]])
    assert perplexity(network, tokens, streams=1, steps=7) == pytest.approx(
        math.exp(total / 100), rel=1e-5
    )


def test_perplexity_of_hopeless_weights_is_infinite_and_no_error() -> None:
    network = fresh()
    with torch.no_grad():
        network.decoder.bias[0] = 1e6
    assert perplexity(network, counting_text(100)) == math.inf


def test_student_follows_its_teacher_and_not_the_labels() -> None:
    teacher = train(fresh(0.0), counting_text(6000), PLAN).network
    noise = torch.randint(12, (6000,), generator=torch.Generator().manual_seed(5))
    # Random text has nothing to learn in its labels, only in the teacher's distribution.
    student = train(fresh(0.0), noise, replace(PLAN, soft=1.0), teacher=teacher).network
    assert perplexity(student, counting_text(500)) < 4


def test_corpus_too_short_for_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 44"):
        train(fresh(), counting_text(43), PLAN)


@pytest.mark.parametrize(
    ("plan", "learner", "told"),
    [
        (replace(PLAN, optimizer="nt_asgd"), None, "validation text"),
        (replace(PLAN, keep="best"), None, "validation text"),
        (replace(PLAN, keep="best"), Executioner(), "take 'last'"),
    ],
)
def test_plan_that_needs_what_is_not_given_is_refused(
    plan: TrainingPlan, learner: Executioner | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        train(
            fresh(),
            counting_text(500),
            plan,
            learner=learner,
            valid=counting_text(50) if learner else None,
        )


def test_plan_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch = 0, clip = -1"):
        TrainingPlan(batch=0, clip=-1)


def test_diverging_run_is_rolled_back_and_stops_with_its_story_and_the_best_model() -> None:
    told: list[str] = []
    plan = replace(PLAN, epochs=40, learning_rate=1e30, clip=1e30, weight_decay=1.0)
    with pytest.raises(FloatingPointError, match="lower the learning rate") as caught:
        train(fresh(), counting_text(3000), plan, progress=lambda done, line: told.append(line))
    assert isinstance(caught.value, TrainingDiverged)
    assert len(caught.value.issues) == 4
    assert [line.startswith("rolled back") for line in told] == [True] * 3
    assert same(caught.value.best.network, fresh())


def test_run_that_diverges_late_gives_up_with_its_good_epochs() -> None:
    class Late(Executioner):
        def penalty(self) -> Tensor | None:
            return torch.tensor(math.nan if self.steps > 60 else 0.0)

    with pytest.raises(TrainingDiverged) as caught:
        train(
            fresh(),
            counting_text(2000),
            PLAN,
            learner=Late(removes=False),
            valid=counting_text(200),
        )
    best = caught.value.best
    assert [record.epoch for record in best.epochs] == [1]
    assert perplexity(best.network, counting_text(200)) == best.epochs[0].valid_perplexity
    assert all("back to step 49" in line for line in caught.value.issues)


class Poison(Executioner):
    """NaN as a penalty in one step of the second epoch, once."""

    def __init__(self) -> None:
        super().__init__(removes=False)
        self.calls = 0

    def penalty(self) -> Tensor | None:
        self.calls += 1
        return torch.tensor(math.nan if self.calls == 60 else 0.0)


def test_run_that_met_nan_once_goes_back_to_its_epoch_with_half_the_step() -> None:
    told: list[str] = []
    trained = train(
        fresh(),
        counting_text(2000),
        replace(PLAN, schedule="constant"),
        learner=Poison(),
        valid=counting_text(200),
        progress=lambda done, line: told.append(line),
    )
    back = [line for line in told if line.startswith("rolled back")]
    assert len(back) == 1
    assert "at step 59 with learning rate 0.01; back to step 49" in back[0]
    assert [record.learning_rate for record in trained.epochs] == [0.01, 0.005, 0.005]
    assert [record.epoch for record in trained.epochs] == [1, 2, 3]
    assert (trained.epochs[2].valid_perplexity or math.inf) < (
        trained.epochs[0].valid_perplexity or 0
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "asgd"])
def test_network_that_shrinks_learns_as_the_whole_one_with_its_units_held_at_zero(
    optimizer: str,
) -> None:
    rate = 1e-2 if optimizer == "adamw" else 2.0
    plan = replace(PLAN, optimizer=optimizer, learning_rate=rate, schedule="constant")
    whole, small = (
        train(
            fresh(0.0),
            noisy_text(1000),
            plan,
            learner=Executioner(removes=removes),
            valid=noisy_text(300),
        )
        for removes in (False, True)
    )
    assert small.epochs[0].units == whole.epochs[2].units
    assert small.epochs[1].units == {"embedding": 6, "units:lstm0": 7, "units:lstm1": 8}
    assert small.network.arrays()["layers.0.weight_hh_l0"].shape == (28, 7)
    for left, right in zip(whole.epochs, small.epochs, strict=True):
        assert left.valid_perplexity == pytest.approx(right.valid_perplexity, rel=1e-5)
        assert left.training_perplexity == pytest.approx(right.training_perplexity, rel=1e-5)


def test_learner_is_asked_in_its_order() -> None:
    calls: list[str] = []

    class Noted(Executioner):
        def __getattribute__(self, name: str) -> object:
            if name in {"attach", "substituted", "penalty", "after_epoch", "extra_parameters"}:
                calls.append(name)
            return super().__getattribute__(name)

    learner = Noted()
    train(fresh(), counting_text(100), replace(PLAN, epochs=1), learner=learner)
    assert calls[:4] == ["attach", "extra_parameters", "substituted", "penalty"]
    assert calls[-3:] == ["after_epoch", "attach", "extra_parameters"]
    assert float(learner.scale.detach()) != 1.0  # its own parameter was optimized
    assert learner.steps == 2 + 2  # two attachments, two steps
    assert KEPT["units:lstm0"].dtype == np.int64


def test_clock_ends_a_run_within_an_epoch() -> None:
    plan = replace(PLAN, minutes=0.01, epochs=1000)
    trained = train(fresh(), counting_text(200_000), plan, valid=counting_text(200))
    assert len(trained.epochs) == 1
    assert trained.epochs[0].valid_perplexity is not None


def test_best_epoch_is_returned_when_the_plan_asks_for_it() -> None:
    # The rate rises so far after the first epoch that nothing is learnt any more.
    plan = replace(
        PLAN,
        epochs=4,
        keep="best",
        optimizer="sgd",
        learning_rate=30.0,
        clip=100.0,
        schedule="constant",
    )
    trained = train(fresh(0.0), noisy_text(2000), plan, valid=noisy_text(300))
    judged = [record.valid_perplexity for record in trained.epochs]
    assert perplexity(trained.network, noisy_text(300)) == min(judged)  # type: ignore[type-var]


def test_streams_are_contiguous() -> None:
    assert in_streams(torch.arange(11), 2).t().tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_result_carries_no_gradients() -> None:
    network: LanguageModel = train(fresh(), counting_text(500), PLAN).network
    assert all(isinstance(p, nn.Parameter) and p.grad is None for p in network.parameters())
