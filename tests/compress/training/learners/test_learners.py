"""Learners: group lasso, proximal steps and gates against slow references, and their results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel, GruSpec
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.language.networks.rhn import RhnLanguageModel, RhnSpec
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.pruning import axes
from isslim.compress.training.learners.gates import HIGH, LOW, TEMPERATURE, HardConcreteGates
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.compress.training.learners.groups import Groups, prunable
from isslim.compress.training.learners.proximal import ProximalGroupLasso
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.sparsity import QUANTILES, sparsity_of, unit_norms
from tests.compress.kinds.language.training.language import counting_text

V, E, H0, H1 = 12, 6, 5, 4


def lstm(*, tied: bool = False, seed: int = 0) -> LstmLanguageModel:
    network = LstmLanguageModel(LstmSpec(V, H1 if tied else E, (H0, H1), tied))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return network


def paper_norms(network: LstmLanguageModel) -> dict[str, list[float]]:
    """A group entry by entry: rows of the gates, recurrent columns, columns of the readers."""
    p = network.arrays()
    norms: dict[str, list[float]] = {}
    for layer, (units, reader) in enumerate(
        ((H0, "layers.1.weight_ih_l0"), (H1, "decoder.weight"))
    ):
        inward, across = p[f"layers.{layer}.weight_ih_l0"], p[f"layers.{layer}.weight_hh_l0"]
        found = []
        for k in range(units):
            total = 0.0
            for gate in range(4):
                total += sum(float(w) ** 2 for w in inward[gate * units + k])
                total += sum(float(w) ** 2 for w in across[gate * units + k])
            total += sum(
                float(w) ** 2 for w in across[:, k]
            )  # where it crosses the gates, entries count twice
            total += sum(float(w) ** 2 for w in p[reader][:, k])
            found.append(math.sqrt(total + 1e-8))
        norms[f"units:lstm{layer}"] = found
    return norms


def test_penalty_is_the_joint_norm_without_size_factor_biases_or_embedding() -> None:
    network = lstm()
    learner = PaperGroupLasso(0.003)
    learner.attach(network)
    expected = 0.003 * sum(sum(norms) for norms in paper_norms(network).values())
    assert float(learner.penalty().detach()) == pytest.approx(expected, rel=1e-5)
    learner.penalty().backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert all(
        gradients[name] is None
        for name in gradients
        if "bias" in name or name == "embedding.weight"
    )
    assert all(gradients[name] is not None for name in ("layers.1.weight_ih_l0", "decoder.weight"))


def test_recorded_norms_are_those_of_the_groups() -> None:
    network = lstm()
    found = sparsity_of(network, None)
    for axis, norms in paper_norms(network).items():
        expected = np.quantile(norms, QUANTILES)
        np.testing.assert_allclose(found.group_norms[axis], expected, rtol=1e-3)
        np.testing.assert_allclose(unit_norms(network)[axis], norms, rtol=1e-3)
    assert found.removed == {"units:lstm0": 0, "units:lstm1": 0}
    living = {"units:lstm1": np.array([0, 2]), "embedding": np.array([1])}
    removed = sparsity_of(network, living).removed
    assert removed == {"units:lstm0": 0, "units:lstm1": H1 - 2, "embedding": E - 1}


def test_penalty_has_a_finite_gradient_at_zero() -> None:
    network = lstm()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    learner = PaperGroupLasso(1.0)
    learner.attach(network)
    learner.penalty().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_threshold_is_by_element_on_everything_and_no_mask() -> None:
    network = lstm()
    learner = PaperGroupLasso(0.003, threshold=0.1)
    learner.attach(network)
    before = network.arrays()
    learner.after_step(1.0)
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, np.where(np.abs(before[name]) < 0.1, 0, before[name]))
    with torch.no_grad():
        network.embedding.weight.fill_(0.2)
    learner.after_step(1.0)
    assert float(network.embedding.weight.detach().min()) == pytest.approx(0.2)


def test_threshold_of_the_rhn_leaves_what_is_in_no_group_alone() -> None:
    network = RhnLanguageModel(RhnSpec(V, H1, H1, 2, tied=True))
    learner = PaperGroupLasso(0.004, threshold=10.0, everywhere=False)
    learner.attach(network)
    bias = network.decoder.bias.detach().clone().fill_(0.3)
    with torch.no_grad():
        network.decoder.bias.copy_(bias)
    learner.after_step(0.2)
    assert torch.equal(network.decoder.bias.detach(), bias)
    assert (
        float(network.embedding.weight.detach().abs().max()) == 0
    )  # its columns are in the groups: tied
    assert sparsity_of(network, None).removed == {"units:rhn": H1}


@pytest.mark.parametrize("part", ["gate row", "recurrent column", "reader"])
def test_unit_counts_as_removed_only_when_every_part_is_exactly_zero(part: str) -> None:
    network = lstm()
    keep = network.declaration().all_components() | {"units:lstm0": np.array([0, 1, 3, 4])}
    biases = {name: array for name, array in network.arrays().items() if "bias" in name}
    silent = axes.mask_components(network.arrays(), network.declaration(), keep) | biases
    dead = network.rebuilt(silent)
    learner = PaperGroupLasso(0.003)
    learner.attach(dead)
    removed = sparsity_of(dead, learner.living()).removed
    assert removed == {"units:lstm0": 1, "units:lstm1": 0}  # biases are not asked
    name, index = {
        "gate row": ("layers.0.weight_ih_l0", (2 * H0 + 2, 0)),
        "recurrent column": ("layers.0.weight_hh_l0", (0, 2)),
        "reader": ("layers.1.weight_ih_l0", (3, 2)),
    }[part]
    with torch.no_grad():
        dict(dead.named_parameters())[name][index] = 1e-30
    learner.attach(dead)
    # However small: the square of this weight is no float any more.
    assert learner.living() is None


def test_extraction_equals_the_big_network_with_carried_state_although_biases_move_the_dead() -> (
    None
):
    network = lstm()
    keep = network.declaration().all_components() | {
        "units:lstm0": np.array([0, 2, 4]),
        "units:lstm1": np.array([1, 2, 3]),
    }
    biases = {name: array for name, array in network.arrays().items() if "bias" in name}
    dead = network.rebuilt(
        axes.mask_components(network.arrays(), network.declaration(), keep) | biases
    )
    small = network.rebuilt(axes.select_components(dead.arrays(), dead.declaration(), keep)[0])
    tokens = counting_text(60).view(3, 20).t()
    first, second = (_log_probs(each, tokens) for each in (dead, small))
    assert float((first - second).abs().max()) < 1e-5
    # A unit whose reader still has a weight is heard through its bias: extraction would be wrong,
    # and is noticed.
    with torch.no_grad():
        dict(dead.named_parameters())["layers.1.weight_ih_l0"][:, 1] = 1.0
    assert float((_log_probs(dead, tokens) - second).abs().max()) > 1e-3


def _log_probs(network: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    state, found = network.zero_state(tokens.shape[1]), []
    with torch.no_grad():
        for start in range(0, len(tokens), 5):
            logits, state = network(tokens[start : start + 5], state)
            found.append(logits.log_softmax(-1))
    return torch.cat(found)


@pytest.mark.parametrize(
    "network",
    [
        lstm(),
        lstm(tied=True),
        GruLanguageModel(GruSpec(V, E, (H0, H1))),
        GruLanguageModel(GruSpec(V, E, (H0, H1), recurrent_ranks=(3, 2), blocks=(4, V - 4))),
        RhnLanguageModel(RhnSpec(V, H1, H1, 3, True)),
    ],
    ids=["lstm", "tied", "gru", "ranks", "rhn"],
)
def test_groups_of_every_architecture_equal_the_energy_of_the_axes_without_biases(
    network: LanguageModel,
) -> None:
    declaration = network.declaration()
    arrays = {name: array * (array.ndim > 1) for name, array in network.arrays().items()}
    groups = Groups(declaration, list(declaration.axes))
    for axis in declaration.axes:
        found = groups.squares(dict(network.named_parameters()), axis).detach().numpy()
        np.testing.assert_allclose(
            found, axes.group_squared_norms(arrays, declaration, axis), rtol=1e-5, atol=1e-7
        )


def test_proximal_step_pulls_the_weakest_by_the_step_or_to_zero_and_leaves_the_others() -> None:
    network = GruLanguageModel(GruSpec(V, E, (H0, H1)))
    axis, parameters = "units:gru0", dict(network.named_parameters())
    groups = Groups(network.declaration(), [axis])
    groups.scale(parameters, axis, torch.tensor([0.02, 1.0, 0.5, 1.0, 1.0]))
    learner = ProximalGroupLasso(2 / (H0 + H1), 1, embedding=False, min_kept=1)
    learner.attach(network)
    learner.strength = 0.3
    arrays = network.arrays()
    inward, across = (
        arrays[f"layers.0.{name}"].reshape(3, H0, -1) for name in ("weight_ih_l0", "weight_hh_l0")
    )
    reader = arrays["layers.1.weight_ih_l0"]
    squares = [
        np.square(inward[:, k]).sum()
        + np.square(across[:, k]).sum()
        + np.square(across[:, :, k]).sum()
        + np.square(reader[:, k]).sum()
        for k in range(H0)
    ]
    norms = np.sqrt(squares)
    learner.after_step(1.0)
    after = network.arrays()
    factor = 1 - 0.3 * float(np.mean(norms)) / norms[2]
    expected = arrays["layers.1.weight_ih_l0"] * np.array([0, 1, factor, 1, 1])
    np.testing.assert_allclose(after["layers.1.weight_ih_l0"], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(after["layers.0.bias_ih_l0"], arrays["layers.0.bias_ih_l0"])
    with torch.no_grad():
        network.layers[1].weight_ih_l0.fill_(1.0)
    learner.after_step(1.0)
    assert (
        float(network.layers[1].weight_ih_l0.detach()[:, 0].abs().max()) == 0
    )  # the dead are held


def trained_on_counting() -> LstmLanguageModel:
    network = LstmLanguageModel(LstmSpec(V, 12, (16, 16)))
    network.initialise(0.2, torch.Generator().manual_seed(0))
    plan = TrainingPlan(
        epochs=6, batch=10, steps=10, optimizer="adamw", learning_rate=1e-2, clip=1.0
    )
    return train(network, counting_text(3000), plan).network  # type: ignore[return-value]


@pytest.fixture(scope="module")
def counter() -> LstmLanguageModel:
    return trained_on_counting()


@pytest.mark.parametrize("kind", [ProximalGroupLasso, HardConcreteGates])
def test_learner_reaches_its_target_and_the_network_shrinks_on_the_way(
    kind: type[ProximalGroupLasso | HardConcreteGates], counter: LstmLanguageModel
) -> None:
    text, steps = counting_text(3000), 8 * 29
    learner = kind(0.5, steps)
    plan = TrainingPlan(
        epochs=8,
        batch=10,
        steps=10,
        optimizer="adamw",
        learning_rate=3e-3,
        clip=1.0,
        extra_learning_rate=0.1,
    )
    done = train(counter, text, plan, teacher=counter, learner=learner, valid=counting_text(300))
    left = sum(done.network.declaration().axes.values())
    if isinstance(learner, HardConcreteGates):
        assert open_share(learner) == pytest.approx(
            0.5, abs=0.15
        )  # in so short a time some gates are half open still
        assert left < 38
    else:
        assert left / 44 == pytest.approx(0.5, abs=0.12)
    assert sum(done.epochs[0].units.values()) == 44
    assert sum(done.epochs[-1].units.values()) < 44
    assert perplexity(done.network, counting_text(300)) < 3


def test_nothing_is_taken_while_a_learner_waits(counter: LstmLanguageModel) -> None:
    network, before = counter.rebuilt(counter.arrays()), counter.arrays()
    proximal, gates = ProximalGroupLasso(0.5, 20, wait=3), HardConcreteGates(0.5, 20, wait=3)
    for learner in (proximal, gates):
        learner.attach(network)
        for _ in range(3):
            assert learner.substituted() is None
            penalty = learner.penalty()
            assert penalty is None or penalty.item() == 0
            learner.after_step(0.1)
    assert all(np.array_equal(before[name], array) for name, array in network.arrays().items())
    for _ in range(3):
        proximal.after_step(0.1)
        gates.after_step(0.1)
    assert not all(np.array_equal(before[name], array) for name, array in network.arrays().items())
    assert gates.substituted() is not None
    assert gates.penalty().item() != 0


def test_paper_lasso_removes_units_in_the_summed_loss_and_reports_them() -> None:
    network = LstmLanguageModel(LstmSpec(V, 12, (16, 16)))
    network.initialise(0.3, torch.Generator().manual_seed(0))
    plan = TrainingPlan(
        epochs=18,
        batch=10,
        steps=10,
        loss="sum_over_steps",
        schedule="paper_iss",
        learning_rate=1.0,
        clip=10.0,
    )
    learner = PaperGroupLasso(0.03, 1e-3)
    done = train(network, counting_text(3000), plan, learner=learner)
    assert (
        sum(done.network.declaration().axes.values()) == 44
    )  # the paper keeps the zeros to the end
    living = PaperGroupLasso(0.03)
    living.attach(done.network)
    keep = living.living()
    assert keep is not None
    small = done.network.rebuilt(
        axes.select_components(done.network.arrays(), done.network.declaration(), keep)[0]
    )
    tokens = counting_text(200).view(4, 50).t()
    assert float((_log_probs(small, tokens) - _log_probs(done.network, tokens)).abs().max()) < 1e-5
    assert perplexity(small, counting_text(300)) < 2


def test_gates_are_hard_concrete_and_multiply_every_reader() -> None:
    network = lstm()
    learner = HardConcreteGates(0.5, 10, seed=4)
    learner.attach(network)
    noise = {
        axis: torch.rand(size, generator=generator)
        for generator in [torch.Generator().manual_seed(4)]
        for axis, size in network.declaration().axes.items()
    }
    drawn = {}
    for axis, u in noise.items():
        soft = 1 / (1 + np.exp(-(np.log(u.numpy() / (1 - u.numpy())) + 2.5) / TEMPERATURE))
        drawn[axis] = np.clip(soft * (HIGH - LOW) + LOW, 0, 1)
    given, own = learner.substituted(), network.arrays()
    readers = {
        "layers.0.weight_ih_l0": "embedding",
        "layers.0.weight_hh_l0": "units:lstm0",
        "layers.1.weight_ih_l0": "units:lstm0",
        "layers.1.weight_hh_l0": "units:lstm1",
        "decoder.weight": "units:lstm1",
    }
    assert given.keys() == readers.keys()
    for name, axis in readers.items():
        np.testing.assert_allclose(
            given[name].detach().numpy(), own[name] * drawn[axis], rtol=1e-4, atol=1e-6
        )


def open_share(learner: HardConcreteGates) -> float:
    """Expected share of open components, from the penalty: at the first step 1 x (share - 1)."""
    state = learner.state_dict()
    learner.load_state_dict({**state, "step": 0, "multipliers": (1.0, 0.0)})
    found = 1 + float(learner.penalty().detach())
    learner.load_state_dict(state)
    return found


def test_expected_open_share_is_what_draws_give() -> None:
    learner = HardConcreteGates(0.5, 10)
    learner.attach(lstm())
    for gate in learner.extra_parameters():
        with torch.no_grad():
            gate.copy_(torch.linspace(-3, 3, len(gate)))
    drawn = 0.0
    for _ in range(2000):
        given = learner.substituted()
        drawn += sum(
            int((given[name].detach()[0] != 0).sum())
            for name in ("layers.0.weight_ih_l0", "layers.1.weight_ih_l0", "decoder.weight")
        )
    assert open_share(learner) == pytest.approx(drawn / 2000 / (E + H0 + H1), abs=0.01)


def test_learning_resumes_bit_for_bit(tmp_path: Path, counter: LstmLanguageModel) -> None:
    text = counting_text(1500)
    plan = TrainingPlan(
        epochs=4,
        batch=10,
        steps=10,
        optimizer="adamw",
        learning_rate=3e-3,
        clip=1.0,
        checkpoint_minutes=1e-9,
    )
    for kind in (ProximalGroupLasso, HardConcreteGates):
        whole = train(counter, text, plan, learner=kind(0.5, 56)).network.state_dict()
        path = tmp_path / f"{kind.__name__}.checkpoint"

        class Stopped(Exception):
            pass

        def stop(done: float, message: str) -> None:
            if message.startswith("epoch 3"):
                raise Stopped

        with pytest.raises(Stopped):
            train(counter, text, plan, learner=kind(0.5, 56), checkpoint=path, progress=stop)
        resumed = train(
            counter, text, plan, learner=kind(0.5, 56), checkpoint=path
        ).network.state_dict()
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_ranks_are_linear_axes_that_gates_shut_where_they_are_read() -> None:
    network = LstmLanguageModel(
        LstmSpec(V, E, (H0, H1), recurrent_ranks=(0, 3), blocks=(4, V - 4), block_ranks=(2, 0))
    )
    declaration = network.declaration()
    assert prunable(declaration, embedding=False) == ["units:lstm0", "units:lstm1"]
    assert prunable(declaration, embedding=True) == list(declaration.axes)
    learner = HardConcreteGates(0.5, 10)
    learner.attach(network)
    given, own = learner.substituted(), network.arrays()
    assert given is not None
    for name, read in (
        ("layers.1.weight_hh_l0", "rank:lstm1.recurrent"),
        ("layers.1.narrow_hh.weight", "units:lstm1"),
        ("softmax.blocks.0.weight", "rank:softmax0"),
        ("softmax.blocks.1.weight", "units:lstm1"),
    ):
        factors = given.pop(name).detach().numpy() / own[name]
        assert factors.shape[1] == declaration.axes[read]
        np.testing.assert_allclose(factors, factors[:1].repeat(len(factors), 0), rtol=1e-5)
    assert given.keys() == {
        "layers.0.weight_ih_l0",
        "layers.0.weight_hh_l0",
        "layers.1.weight_ih_l0",
        "softmax.narrow.0.weight",
    }
