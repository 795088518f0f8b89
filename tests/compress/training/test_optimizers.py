"""Averaged SGD against the mean, its trigger against the algorithm, schedules against the paper."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.run import Run
from isslim.compress.training.optimizers import (
    averaged_weights,
    averages,
    has_stalled,
    optimizer_of,
    set_learning_rate,
    start_averaging,
)
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks
from isslim.compress.training.schedules import share_of_peak
from tests.compress.kinds.language.training.language import PLAN, fresh, noisy_text

AVERAGED = replace(PLAN, optimizer="asgd", learning_rate=0.5, clip=10.0)


def test_averaged_weights_are_the_mean_since_averaging_started() -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = optimizer_of(network, AVERAGED)
    generator, seen, rates = (
        torch.Generator().manual_seed(0),
        [],
        [0.5, 0.1, 0.2, 0.05, 0.3, 0.4, 0.1],
    )
    plain = torch.nn.Linear(3, 2)
    plain.load_state_dict(network.state_dict())
    reference = torch.optim.SGD(plain.parameters(), lr=1.0)
    for index, rate in enumerate(rates):
        if index == 2:
            start_averaging(optimizer)
        value = torch.randn(4, 3, generator=generator)
        for each, its in ((network, optimizer), (plain, reference)):
            set_learning_rate(its, rate)
            its.zero_grad()
            each(value).square().sum().backward()
            its.step()
        # Between the averages it is plain SGD, at the rate of this step and not of the one before.
        torch.testing.assert_close(network.weight, plain.weight, rtol=1e-6, atol=1e-7)
        seen.append(network.weight.detach().clone())
    own = network.weight.detach().clone()
    with averaged_weights(network, optimizer):
        # torch weighs the first of the means with 1 twice: the mean is that of the steps after the
        # first one.
        torch.testing.assert_close(
            network.weight.detach(), torch.stack(seen[3:]).mean(0), rtol=1e-5, atol=1e-6
        )
    assert torch.equal(network.weight, own)


def test_weights_are_not_averaged_before_it_started() -> None:
    network = fresh()
    optimizer = optimizer_of(network, AVERAGED)
    assert not averages(optimizer)
    with averaged_weights(network, optimizer):
        assert torch.equal(network.decoder.weight, fresh().decoder.weight)


def test_averaged_network_is_what_is_evaluated_and_returned() -> None:
    plan = replace(
        AVERAGED, learning_rate=8.0, clip=0.5, schedule="constant", epochs=4, averaging_epoch=3
    )
    trained = train(fresh(0.0), noisy_text(3000), plan, valid=noisy_text(300))
    last = train(
        fresh(0.0), noisy_text(3000), replace(plan, optimizer="sgd"), valid=noisy_text(300)
    )
    for left, right in zip(trained.epochs[:2], last.epochs[:2], strict=True):
        assert left.valid_perplexity == pytest.approx(right.valid_perplexity, rel=1e-5)
    assert trained.epochs[3].training_perplexity == pytest.approx(
        last.epochs[3].training_perplexity, rel=1e-3
    )
    assert trained.epochs[3].valid_perplexity != pytest.approx(
        last.epochs[3].valid_perplexity, rel=1e-3
    )
    assert trained.epochs[3].valid_perplexity == perplexity(trained.network, noisy_text(300))


def test_stall_is_found_as_in_the_algorithm_of_nt_asgd() -> None:
    # Algorithm 1 of arXiv 1708.02182, word for word: logs, and `v > min(logs[:t - n])` once t > n.
    def triggers(perplexities: list[float], patience: int) -> int | None:
        logs: list[float] = []
        for t, value in enumerate(perplexities):
            if t > patience and value > min(logs[l] for l in range(t - patience)):  # noqa: E741
                return t
            logs.append(value)
        return None

    generator = torch.Generator().manual_seed(4)
    for patience in (1, 3, 5):
        for _ in range(20):
            values = (100 * torch.rand(12, generator=generator)).tolist()
            ours = next((t for t in range(12) if has_stalled(values[: t + 1], patience)), None)
            assert ours == triggers(values, patience)


def test_nt_asgd_averages_only_after_validation_stalled() -> None:
    plan = replace(
        AVERAGED, optimizer="nt_asgd", patience=1, epochs=6, schedule="constant", keep="last"
    )
    plain = replace(plan, optimizer="sgd")
    text, valid = noisy_text(1000), noisy_text(300)
    wild, loose = (
        train(fresh(0.0), text, replace(each, learning_rate=60.0, clip=1.0), valid=valid)
        for each in (plan, plain)
    )
    judged = [r.valid_perplexity for r in wild.epochs]
    stalled = next(t for t in range(6) if has_stalled([v or 0 for v in judged[: t + 1]], 1))
    reference = [r.valid_perplexity for r in loose.epochs]
    assert stalled < 5
    assert judged[: stalled + 1] == pytest.approx(reference[: stalled + 1], rel=1e-4)
    assert judged[stalled + 1 :] != pytest.approx(reference[stalled + 1 :], rel=1e-2)


def test_schedules_are_those_of_the_paper() -> None:
    iss = TrainingPlan(epochs=55, schedule="paper_iss")
    shares = [share_of_peak(iss, 0.5, epoch - 1) for epoch in (1, 18, 19, 36, 37, 54, 55)]
    assert shares == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001], rel=1e-12)
    baseline = TrainingPlan(epochs=55, schedule="paper_baseline")
    shares = [share_of_peak(baseline, 0.5, epoch - 1) for epoch in (1, 14, 15, 16, 55)]
    assert shares == pytest.approx([1, 1, 1 / 1.15, 1 / 1.15**2, 1 / 1.15**41], rel=1e-12)
    highway = TrainingPlan(epochs=500, schedule="paper_rhn")
    shares = [share_of_peak(highway, 0.5, epoch - 1) for epoch in (1, 20, 21, 500)]
    assert shares == pytest.approx([1, 1, 1 / 1.02, 1 / 1.02**480], rel=1e-12)
    assert share_of_peak(TrainingPlan(schedule="constant"), 0.9, 40) == 1


def test_cosine_rises_over_two_hundredths_and_ends_at_one() -> None:
    plan = TrainingPlan()
    assert share_of_peak(plan, 0.01, 0) == pytest.approx(0.5)
    assert share_of_peak(plan, 0.02, 0) == pytest.approx(1.0)
    assert share_of_peak(plan, 0.51, 0) == pytest.approx(0.505)
    assert share_of_peak(plan, 1.0, 0) == pytest.approx(0.01)


def test_loop_takes_the_rate_of_its_epoch() -> None:
    plan = TrainingPlan(epochs=6, batch=4, steps=10, learning_rate=1.0, schedule="paper_iss")
    rates = [record.learning_rate for record in train(fresh(), noisy_text(200), plan).epochs]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01], rel=1e-12)


def test_epoch_that_validates_as_nan_is_not_the_best() -> None:
    run = Run(fresh(), replace(PLAN, keep="best"), None, Ranks())
    for judged in (math.nan, 7.0, math.nan, 9.0):
        run.remember_best(judged)
    assert run.best is not None
    assert run.best["perplexity"] == 7.0
