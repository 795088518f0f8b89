"""BiDAF against a slow reference of its equations; padding; removal of components on every axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.compress.kinds.questions.networks.bidaf import NEVER, Bidaf
from isslim.compress.pruning import axes

SPEC = BidafSpec(
    vectors=6,
    characters=12,
    character_embedding=4,
    filters=7,
    contextual=(5, 4),
    modelling0=(6, 3),
    modelling1=(4, 5),
    output=(3, 6),
)
NARROW = replace(SPEC, ranks=(5, 4, 0, 6))
EITHER = pytest.mark.parametrize("spec", [SPEC, NARROW], ids=["plain", "narrow"])
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def network_of(spec: BidafSpec = SPEC, seed: int = 0) -> Bidaf:
    torch.manual_seed(seed)
    network = Bidaf(spec).eval()
    with (
        torch.no_grad()
    ):  # larger than a fresh network's, so that no activation is nearly linear or nearly zero
        for parameter in network.parameters():
            parameter.normal_(0, 0.5)
    return network


def text(
    generator: torch.Generator, lengths: list[int], width: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Random tokens with words of 1 to `width` characters; the vectors at padding are noise."""
    steps, batch = max(lengths), len(lengths)
    vectors = torch.randn(steps, batch, SPEC.vectors, generator=generator)
    characters = torch.randint(1, SPEC.characters, (steps, batch, width), generator=generator)
    sizes = torch.randint(1, width + 1, (steps, batch, 1), generator=generator)
    characters[torch.arange(width) >= sizes] = 0
    return vectors, characters, torch.tensor(lengths, dtype=torch.int32)


def batch_of(contexts: list[int], questions: list[int], seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return (*text(generator, contexts), *text(generator, questions))


def alone(inputs: Inputs, row: int) -> Inputs:
    """One example without any padding: neither tokens nor characters that no word of it needs."""
    result: list[Tensor] = []
    for vectors, characters, lengths in (inputs[:3], inputs[3:]):
        length = int(lengths[row])
        own = characters[:length, row : row + 1]
        longest = max(5, int((own != 0).sum(dim=-1).max()))
        result += [vectors[:length, row : row + 1], own[..., :longest], lengths[row : row + 1]]
    return (result[0], result[1], result[2], result[3], result[4], result[5])


def slowly(network: Bidaf, vectors: Tensor, characters: Tensor) -> list[Tensor]:
    """Words up to the highway's output, one at a time: (D,) each."""
    words = []
    for vector, ids in zip(vectors, characters, strict=True):
        letters = [int(each) for each in ids if each != 0]
        letters += [0] * max(0, 5 - len(letters))
        table, kernel, bias = (
            network.characters.weight,
            network.convolution.weight,
            network.convolution.bias,
        )
        assert bias is not None
        windows = [
            sum((kernel[:, :, k] @ table[letters[at + k]] for k in range(5)), start=bias)
            for at in range(len(letters) - 4)
        ]
        word = torch.cat([torch.stack(windows).amax(dim=0).clamp(min=0), vector])
        for index in range(2):
            highway = network.get_submodule(f"highways.{index}")
            gate, transform = highway.get_submodule("gate"), highway.get_submodule("transform")
            t = torch.sigmoid(gate(word))
            word = t * torch.relu(transform(word)) + (1 - t) * word
        words.append(word)
    return words


def lstm(network: Bidaf, name: str, inputs: list[Tensor]) -> Tensor:
    """A bidirectional LSTM by its equations: (T, F + R)."""
    narrow, sides = dict(network.get_submodule(name).named_children()).get("narrow"), []
    if narrow is not None:
        weight, bias = narrow.get_parameter("weight"), narrow.get_parameter("bias")
        inputs = [weight @ value + bias for value in inputs]
    for direction in ("forwards", "backwards"):
        layer = network.get_submodule(f"{name}.{direction}")
        inward, across, first, second = (
            layer.get_parameter(f"{kind}_l0")
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden = cell = torch.zeros(across.shape[1])
        outputs = []
        for value in inputs if direction == "forwards" else inputs[::-1]:
            i, f, g, o = (inward @ value + first + across @ hidden + second).chunk(4)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        sides.append(torch.stack(outputs if direction == "forwards" else outputs[::-1]))
    return torch.cat(sides, dim=-1)


@torch.no_grad()
def reference(network: Bidaf, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The module docstring's equations for one example without padding: (T,) and (T,)."""
    h = lstm(network, "contextual", slowly(network, inputs[0][:, 0], inputs[1][:, 0]))
    u = lstm(network, "contextual", slowly(network, inputs[3][:, 0], inputs[4][:, 0]))
    w = network.attention.weight[0]
    s = torch.stack([torch.stack([w @ torch.cat([a, b, a * b]) for b in u]) for a in h])
    pooled = torch.softmax(s.amax(dim=1), 0) @ h
    attended = [torch.softmax(row, 0) @ u for row in s]
    flow = [torch.cat([a, b, a * b, a * pooled]) for a, b in zip(h, attended, strict=True)]
    m1 = lstm(network, "modelling1", list(lstm(network, "modelling0", flow)))
    start = torch.log_softmax(
        torch.cat([network.start(torch.cat([a, g])) for a, g in zip(m1, flow, strict=True)]), 0
    )
    a = start.exp() @ m1
    m2 = lstm(
        network, "output", [torch.cat([g, m, a, m * a]) for g, m in zip(flow, m1, strict=True)]
    )
    end = torch.log_softmax(
        torch.cat([network.end(torch.cat([a, g])) for a, g in zip(m2, flow, strict=True)]), 0
    )
    return start, end


@EITHER
@torch.no_grad()
def test_the_network_is_its_equations_and_a_batch_of_unequal_lengths_equals_one_by_one(
    spec: BidafSpec,
) -> None:
    network = network_of(spec)
    inputs = batch_of([9, 1, 14, 6], [3, 8, 1, 5])
    start, end = network(*inputs)
    assert start.dtype == end.dtype == torch.float32
    for row, length in enumerate([9, 1, 14, 6]):
        single = alone(inputs, row)
        for found, by_itself, expected in zip(
            (start, end), network(*single), reference(network, single), strict=True
        ):
            torch.testing.assert_close(by_itself[0], expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found[row, :length], expected, rtol=1e-5, atol=1e-5)
            assert (found[row, length:] <= NEVER).all()
            torch.testing.assert_close(found[row].exp().sum(), torch.tensor(1.0), rtol=1e-5, atol=0)


@torch.no_grad()
def test_nothing_that_stands_at_padding_changes_a_result() -> None:
    network, inputs = network_of(), batch_of([4, 9], [7, 2])
    noisy = [each.clone() for each in inputs]
    for at in (0, 3):
        lengths = inputs[at + 2]
        padding = torch.arange(len(inputs[at]))[:, None] >= lengths
        noisy[at][padding] = 1e3
        noisy[at + 1][padding] = 1
    for found, expected in zip(network(*noisy), network(*inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_reading_distinct_words_once_is_the_same_network() -> None:
    network, random = network_of(), torch.Generator().manual_seed(4)
    vectors, characters, _ = (each[:, 0] if each.dim() > 1 else each for each in text(random, [20]))
    contexts, questions = (
        torch.randint(0, 20, (8, 3), generator=random),
        torch.randint(0, 20, (4, 3), generator=random),
    )
    lengths = torch.tensor([8, 2, 5]), torch.tensor([1, 4, 3])
    found = network.distinct(vectors, characters, contexts, lengths[0], questions, lengths[1])
    placed = (
        vectors[contexts],
        characters[contexts],
        lengths[0],
        vectors[questions],
        characters[questions],
        lengths[1],
    )
    for ours, expected in zip(found, network(*placed), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [*network_of(NARROW).declaration().axes, "all"])
@torch.no_grad()
def test_removing_components_equals_masking_them(axis: str) -> None:
    network, inputs = (
        network_of(NARROW if axis.startswith("rank") else SPEC),
        batch_of([9, 3, 12], [2, 6, 4], seed=1),
    )
    arrays, declaration = network.arrays(), network.declaration()
    random = np.random.default_rng(3)
    keep = {
        name: np.sort(random.choice(size, size=max(1, size // 2), replace=False))
        for name, size in declaration.axes.items()
        if axis in (name, "all")
    }
    taken, smaller = axes.select_components(arrays, declaration, keep)
    small = network.rebuilt(taken)
    masked_network = network.rebuilt(axes.mask_components(arrays, declaration, keep))
    assert small.declaration() == smaller
    assert sum(map(np.size, taken.values())) < sum(map(np.size, arrays.values()))
    for found, masked in zip(small(*inputs), masked_network(*inputs), strict=True):
        torch.testing.assert_close(found, masked, rtol=1e-5, atol=1e-5)
    end, whole = small(*inputs)[1], network(*inputs)[1]  # the end depends on every axis
    assert not torch.allclose(end, whole, rtol=0, atol=1e-3)


@EITHER
def test_every_site_input_gives_its_pre_activation(spec: BidafSpec) -> None:
    network, inputs = network_of(spec), batch_of([5, 2, 7], [3, 4, 1], seed=2)
    arrays, declaration = network.arrays(), network.declaration()
    seen: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            seen.setdefault(name, []).append(output)

        return note

    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(hook(name))
    with torch.no_grad():
        found = network.site_inputs(*inputs)
    assert found.keys() == {site.name for site in declaration.sites}
    real = [torch.arange(len(inputs[at]))[:, None] < inputs[at + 2] for at in (0, 3)]
    for site in declaration.sites:
        values = found[site.name]
        joint = np.concatenate([arrays[reader.parameter] for reader in site.readers], axis=1)
        assert values.shape == (
            int(real[0].sum()) + (0 if site.name in CONTEXT_ONLY else int(real[1].sum())),
            joint.shape[1],
        )
        if site.name in seen:
            read = real[:1] if site.name in CONTEXT_ONLY else real
            expected = torch.cat(
                [
                    value.view(*mask.shape, -1)[mask]
                    for value, mask in zip(seen[site.name], read, strict=False)
                ]
            )
            assert site.bias is not None
            torch.testing.assert_close(
                values @ torch.from_numpy(joint.T) + torch.from_numpy(arrays[site.bias]),
                expected,
                rtol=1e-5,
                atol=1e-5,
            )
        else:
            _check_recurrence(network, site.name, values, joint, [int(each) for each in inputs[2]])


CONTEXT_ONLY = {
    f"{lstm}.{part}"
    for lstm in ("modelling0", "modelling1", "output")
    for part in ("narrow", "forwards", "backwards")
} | {"start", "end"}


def _check_recurrence(
    network: Bidaf, site: str, values: Tensor, joint: np.ndarray, lengths: list[int]
) -> None:
    """A step's inputs give the output that the next step, in its direction, reads."""
    layer = network.get_submodule(site)
    bias = layer.get_parameter("bias_ih_l0") + layer.get_parameter("bias_hh_l0")
    gates = values @ torch.from_numpy(joint.T) + bias.detach()
    units = len(bias) // 4
    # Rows are ordered by step, then by text: the positions of the first text among the context's
    # tokens.
    order = [
        (step, text)
        for step in range(max(lengths))
        for text in range(len(lengths))
        if step < lengths[text]
    ]
    for text, length in enumerate(lengths):
        rows = [order.index((step, text)) for step in range(length)]
        rows = rows if site.endswith("forwards") else rows[::-1]
        cell = torch.zeros(units)
        hidden = torch.zeros(units)
        for row in rows:
            torch.testing.assert_close(values[row, -units:], hidden, rtol=1e-5, atol=1e-5)
            i, f, g, o = gates[row].chunk(4)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)


def test_the_papers_sizes_give_the_papers_number_of_weights() -> None:
    """2,164k in modelling and output LSTMs and both heads; TensorFlow's LSTMs have one bias."""
    declaration = Bidaf(BidafSpec(vectors=100, characters=90)).declaration()
    counted = [
        name
        for name in declaration.dimensions
        if name.startswith(("modelling", "output", "start", "end")) and "bias_hh" not in name
    ]
    assert round(sum(np.prod(axes.shape(declaration, name)) for name in counted) / 1e3) == 2164


def test_dropout_acts_in_training_only_and_the_loss_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network, inputs = Bidaf(SPEC, dropout=0.5), batch_of([9, 3], [2, 6])
    assert not torch.equal(network(*inputs)[0], network(*inputs)[0])
    start, end = network(*inputs)
    (start[:, 0] + end[:, 1]).sum().backward()
    # A bias that all tokens share does not change a softmax over them.
    still = {
        name
        for name, each in network.named_parameters()
        if each.grad is None or not each.grad.abs().sum() > 1e-6
    }
    assert still <= {"start.bias", "end.bias"}
    network.eval()
    torch.testing.assert_close(network(*inputs), network(*inputs), rtol=0, atol=0)


def test_attention_begins_as_a_dot_product() -> None:
    network = Bidaf(BidafSpec(6, 9, 4, 6, (3, 5), (4, 4), (4, 4), (4, 4)))
    h, u = torch.randn(8, generator=torch.Generator().manual_seed(0)), torch.randn(8)
    found = network.attention(torch.cat([h, u, h * u])).item()
    assert found == pytest.approx(0.5 * float(h @ u), abs=1e-5)
