"""A checkpoint is understood completely: nothing missing; what is ignored or assumed is listed."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization

from isslim.compress.errors import UnknownArchitecture, UnreadableUpload
from isslim.compress.ingest.unpickling import STAND_INS
from isslim.compress.kinds.language.ingest.layouts import Ingested, read_model

V, H = 40, 24
State = dict[str, Tensor]
ASSUMED = (
    "the layers feed one another in this order, no residual links, no scaling, no activation or "
    "normalisation without weights, "
    "the decoder reads the top layer directly"
)


class Model(nn.Module):
    """The PyTorch word language model."""

    def __init__(self, layers: int = 2, width: int = H, **options: Any) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, width)
        self.rnn = nn.LSTM(width, H, layers, **options)
        self.decoder = nn.Linear(H, V)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.rnn(self.encoder(tokens))[0])
        return result


def model(**options: Any) -> Model:
    torch.manual_seed(0)
    return Model(**options).eval()


def state(**options: Any) -> State:
    return dict(model(**options).state_dict())


def read(content: Any, folder: Path, name: str = "model.pt", **config: Any) -> Ingested:
    torch.save(content, folder / name)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return read_model(folder / name, folder / "config.json" if config else None)


def without(*parts: str) -> State:
    return {
        name: value for name, value in state().items() if not any(part in name for part in parts)
    }


def same(found: Ingested, expected: Callable[[Tensor], Tensor]) -> None:
    tokens = torch.randint(V, (9, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, _ = found.network(tokens, found.network.zero_state(3))
        torch.testing.assert_close(
            logits, expected(tokens), rtol=0, atol=2e-6
        )  # float32: sums in other orders


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (without("decoder"), r"decoder's matrix \(40, 24\) is missing.*\"tied\": true"),
        (
            without("decoder.weight"),
            r"decoder's matrix \(40, 24\) is missing \(its bias 'decoder.bias' is there\)",
        ),
        (without("encoder"), r"embedding is missing: a matrix \(40, 24\).*\"one_hot\": true"),
        (without("l1", "decoder"), "decoder's matrix"),
        (without("l0", "encoder"), "layer 0 is missing"),
        (without("bias_hh_l1"), "bias_hh is missing in rnn layer 1"),
        (without("bias_ih_l0", "bias_ih_l1"), "bias_ih is missing in rnn layer 0, rnn layer 1"),
        (without("bias_ih_l1", "bias_hh_l1"), "is missing in rnn layer 1"),
        (without("weight_ih_l1"), "rnn layer 1 lacks.*weight_ih is missing"),
        (without("weight_hh_l0"), "rnn layer 0 lacks.*weight_hh is missing"),
        (without("encoder", "decoder"), "neither an embedding nor a decoder"),
        (
            {name.replace("_l1", "_l2"): value for name, value in state().items()},
            "layer 1 is missing",
        ),
        (
            state()
            | {"rnn.weight_ih_l3": torch.ones(4 * H, H), "rnn.weight_hh_l3": torch.ones(4 * H, H)},
            "layer 2 is missing",
        ),
    ],
)
def test_what_is_missing_is_named(content: State, missing: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match=missing):
        read(content, tmp_path)


def numbered(*names: str) -> State:
    torch.manual_seed(0)
    made = {
        "embed.weight": torch.randn(V, H),
        "fc.weight": torch.randn(V, H),
        "fc.bias": torch.randn(V),
    }
    for name in names:
        made |= {f"{name}.{key}": value for key, value in nn.LSTM(H, H).state_dict().items()}
    return made


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("rnns.0", "rnns.2"), "number 1 is missing"),
        (("rnns.1", "rnns.2"), "number 0 is missing"),
        (("rnns.1",), "number 0 is missing"),
        (("lstm1", "lstm3"), "number 2 is missing"),
        (("lstm_one", "lstm_three"), "number 2 is missing"),
        (("forward_rnn", "backward_rnn"), "side by side"),
        (("fwdLSTM", "bwdLSTM"), "side by side"),
        (("encoder.rnn", "decoder.rnn"), "side by side"),
        (("left", "right"), "side by side"),
        (("rnn_l2r", "rnn_r2l"), "side by side"),
        (("question_rnn", "context_rnn"), "side by side"),
        (("generator.rnn", "discriminator.rnn"), "side by side"),
        (("rnn_a", "rnn_b"), "order of the recurrent modules"),
        (("main_rnn", "other_rnn"), "order of the recurrent modules"),
        (("backward_rnn",), "reads a text backwards"),
    ],
)
def test_modules_that_may_not_be_a_stack_are_asked_for(
    names: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UnknownArchitecture, match=told) as refused:
        read(numbered(*names), tmp_path)
    assert '{"layers": [' in refused.value.detail
    assert (
        f"as the config says: {', '.join(names)}"
        in read(numbered(*names), tmp_path, layers=names).layout
        or len(names) == 1
    )


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "pytorch_model-00002-of-00003.bin", "lm_1_of_2.pt"]
)
def test_a_shard_is_recognised_by_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableUpload, match="the other parts are missing"):
        read(state(), tmp_path, name)
    assert read(state(), tmp_path, "model-00001-of-00001.pt")


def test_a_tied_decoder_is_accepted_where_it_is_declared(tmp_path: Path) -> None:
    tied = model()
    tied.decoder.weight = tied.encoder.weight
    content = {name: value for name, value in tied.state_dict().items() if name != "decoder.weight"}
    same(read(content, tmp_path, tied=True), tied)
    assert "tied, as the config says" in read(content, tmp_path, tied=True).layout
    options = argparse.Namespace(nlayers=2, tied=True)
    found = read({"state_dict": content, "args": options}, tmp_path)
    assert "tied, as the file says (args/tied)" in found.layout
    same(found, tied)
    save_model(
        tied, str(tmp_path / "model.safetensors")
    )  # one of two names, the other in the metadata
    same(read_model(tmp_path / "model.safetensors", None), tied)
    save_file(content, tmp_path / "bare.safetensors")
    with pytest.raises(UnknownArchitecture, match="decoder's matrix"):
        read_model(tmp_path / "bare.safetensors", None)


@pytest.mark.parametrize(
    "name",
    [
        "loss_fn.weight",
        "criterion.weight",
        "token_counts",
        "word_freqs",
        "class_weights",
        "nll_loss.weight",
    ],
)
def test_numbers_of_the_training_are_named_and_no_bias(name: str, tmp_path: Path) -> None:
    plain = model()
    plain.decoder.bias.data.zero_()
    content = {key: value for key, value in plain.state_dict().items() if key != "decoder.bias"}
    found = read(content | {name: torch.rand(V) * 4}, tmp_path)
    same(found, plain)
    assert f"dropped: {name} (40,)" in found.layout
    assert "a decoder without bias" in found.layout


@pytest.mark.parametrize(
    "name",
    ["prior", "unigram_logits", "encoder.bias", "bias", "rnn.bias", "norm.running_mean", "scale"],
)
def test_a_vector_that_may_matter_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match=name):
        read(without("decoder.bias") | {name: torch.rand(V)}, tmp_path)
    assert (
        f"{name} (40,), as the config says"
        in read(state() | {name: torch.rand(V)}, tmp_path, drop=[name]).layout
    )


@pytest.mark.parametrize(
    "name", ["criterion", "loss", "drop", "dropout", "softmax", "head", "crit"]
)
def test_an_adaptive_softmax_is_refused_under_any_name(name: str, tmp_path: Path) -> None:
    softmax = nn.AdaptiveLogSoftmaxWithLoss(H, V, [10, 20])
    parts = {f"{name}.{key}": value for key, value in softmax.state_dict().items()}
    with pytest.raises(UnknownArchitecture, match="adaptive softmax"):
        read(without("decoder") | parts, tmp_path)
    with pytest.raises(UnknownArchitecture, match="adaptive softmax"):
        read(without("decoder") | parts, tmp_path, tied=True)


@pytest.mark.parametrize(
    "name", ["criterion.weight", "dropout.weight", "drop.mask", "loss.proj.weight"]
)
def test_no_matrix_is_dropped_by_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match=name):
        read(state() | {name: torch.randn(7, 9)}, tmp_path)


def test_what_weights_cannot_show_is_listed_as_assumed(tmp_path: Path) -> None:
    assert read(state(), tmp_path).layout == (
        "PyTorch word-language-model layout: 2 LSTM layers of 24 units, untied; assumed: " + ASSUMED
    )
    found = read(numbered("lstm1", "lstm2"), tmp_path)
    assert (
        found.reading.assumed[0]
        == "the layers feed one another in this order (by their names: lstm1, lstm2)"
    )


def test_two_names_of_one_weight_are_one_or_refused(tmp_path: Path) -> None:
    copy = {f"rnn.module.{name}": value for name, value in model().rnn.state_dict().items()}
    assert "the same as 'rnn.weight_ih_l0'" in read(state() | copy, tmp_path).layout
    with pytest.raises(
        UnknownArchitecture, match=r"'rnn\.module\.weight_ih_l0' and 'rnn\.weight_ih_l0' are both"
    ):
        read(state() | {name: value + 1 for name, value in copy.items()}, tmp_path)


def pruned(made: Model) -> None:
    for name in ("weight_hh_l0", "weight_ih_l1", "bias_hh_l0"):
        prune.l1_unstructured(made.rnn, name, 0.5)


def normed(made: Model) -> None:
    made.rnn = nn.utils.weight_norm(made.rnn, "weight_hh_l0")
    made.rnn = nn.utils.weight_norm(made.rnn, "weight_ih_l1", dim=None)
    made.decoder = nn.utils.weight_norm(made.decoder, dim=1)


def parametrised(made: Model) -> None:
    parametrizations.weight_norm(made.rnn, "weight_hh_l0")
    parametrizations.weight_norm(made.decoder, dim=1)


def spectral(made: Model) -> None:
    parametrizations.spectral_norm(made.rnn, "weight_hh_l1")
    nn.utils.spectral_norm(made.decoder)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:RNN module weights")
@pytest.mark.parametrize("change", [pruned, normed, parametrised, spectral])
def test_computed_weights_are_folded_exactly(
    change: Callable[[Model], None], tmp_path: Path
) -> None:
    made = model()
    change(made)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith(("_g", "original0")):
                value *= (
                    torch.rand_like(value) + 0.5
                )  # as if trained: the scale is no longer the norm
    made.eval()
    found = read(made.state_dict(), tmp_path)
    assert "folded into" in found.layout
    same(found, made)


def test_parts_of_a_computed_weight_that_are_missing_are_named(tmp_path: Path) -> None:
    made = model()
    prune.l1_unstructured(made.rnn, "weight_hh_l0", 0.5)
    content = {
        name: value for name, value in made.state_dict().items() if not name.endswith("_mask")
    }
    with pytest.raises(UnreadableUpload, match=r"'rnn\.weight_hh_l0' is pruned.*prune\.remove"):
        read(content, tmp_path)
    made = model()
    register_parametrization(made.decoder, "weight", nn.Identity())
    with pytest.raises(
        UnreadableUpload,
        match=r"'decoder\.weight' is computed by a parametrization.*remove_parametrizations",
    ):
        read(made.state_dict(), tmp_path)


def test_what_people_store_beside_the_weights_does_no_harm(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(model().parameters())
    content = {
        "state_dict": state(),
        "args": argparse.Namespace(lr=0.1, save=pathlib.Path("a/b"), tied=False),
        "best_loss": torch.tensor(4.2),
        "best": np.float64(3),
        "history": [
            np.float32(1.5),
            np.arange(3),
            np.array(["a", "b"]),
            np.array([None, "c"], dtype=object),
        ],
        "extra": defaultdict(list, {"a": [1]}),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "epoch": 3,
    }
    found = read(content, tmp_path)
    same(found, model())
    for named in (
        "best_loss (), beside the model",
        "rng (5056,), beside the model",
        "history (1 tensor), beside the model",
    ):
        assert named in found.layout


def test_numpy_arrays_are_weights_too(tmp_path: Path) -> None:
    same(read({name: value.numpy() for name, value in state().items()}, tmp_path), model())


@pytest.mark.parametrize("other", ["ema", "teacher", "best_model", "discriminator"])
def test_of_several_models_the_config_chooses(other: str, tmp_path: Path) -> None:
    second = {name: value + 0.1 for name, value in state().items()}
    content = {"model": state(), other: second, "epoch": 3}
    with pytest.raises(
        UnreadableUpload, match=rf"several models: 'model' .*, '{other}' .*\"state\": \"{other}\""
    ):
        read(content, tmp_path)
    found = read(content, tmp_path, state="model")
    same(found, model())
    assert f"dropped: {other} (11 tensors), beside the model" in found.layout
    second_model = model()
    second_model.load_state_dict(second)
    same(read(content, tmp_path, state=other), second_model)
    flat = {f"model.{name}": value for name, value in state().items()} | {
        f"{other}.{name}": v for name, v in second.items()
    }
    with pytest.raises(UnknownArchitecture):
        read(flat, tmp_path)
    found = read(flat, tmp_path, state=other)
    same(found, second_model)
    assert "model.encoder.weight (40, 24), beside the model" in found.layout
    with pytest.raises(UnreadableUpload, match="asks for the state 'nope'"):
        read(content, tmp_path, state="nope")


def test_running_averages_without_names_are_named_as_left_out(tmp_path: Path) -> None:
    found = read(
        {"model": state(), "ema": {"decay": 0.9, "shadow_params": list(state().values())}}, tmp_path
    )
    assert "ema (11 tensors), beside the model" in found.layout


def test_options_in_the_file_show_a_missing_layer(tmp_path: Path) -> None:
    """A missing top one of equal layers leaves no trace but in the options of the run."""
    content = {"state_dict": state(), "args": argparse.Namespace(nlayers=3)}
    with pytest.raises(
        UnknownArchitecture,
        match=r"2 recurrent layers are in the file.*args/nlayers.* = 3.*a layer is missing",
    ):
        read(content, tmp_path)
    same(read(content, tmp_path, layers=["rnn"]), model())
    same(read({"state_dict": state(), "hyper_parameters": {"num_layers": 2}}, tmp_path), model())


def test_a_dictionary_for_each_module_is_put_together(tmp_path: Path) -> None:
    made = model()
    same(
        read(
            {
                "embedding": made.encoder.state_dict(),
                "rnn": made.rnn.state_dict(),
                "fc": made.decoder.state_dict(),
            },
            tmp_path,
        ),
        made,
    )


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_float32_and_reported(
    precision: torch.dtype, tmp_path: Path
) -> None:
    found = read({name: value.to(precision) for name, value in state().items()}, tmp_path)
    assert f"stored as {str(precision).removeprefix('torch.')}, read as float32" in found.layout


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {
                **nn.LSTM(7, H).state_dict(prefix="lstm."),
                **nn.Linear(H, 7).state_dict(prefix="fc."),
            },
            "embedding is missing",
        ),
        (
            {**state(), "decoder.weight": torch.ones(2, H), "decoder.bias": torch.ones(2)},
            "a classifier or a tagger",
        ),
        ({**state(), "crf.transitions": torch.ones(5, 5)}, "crf.transitions"),
        (
            {
                **nn.LSTM(H, H, bidirectional=True).state_dict(prefix="contextual_LSTM.rnn."),
                "char_emb.weight": torch.ones(9, 8),
            },
            "bidirect",
        ),
        ({**nn.RNN(H, H).state_dict(prefix="rnn."), **without("rnn")}, "plain RNN"),
        ({"highway_linear0.0.weight": torch.ones(4, 4), **state()}, "highway_linear0"),
    ],
)
def test_other_models_are_referred_to_onnx(content: State, told: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match=told) as refused:
        read(content, tmp_path)
    assert (
        "torch.onnx.export(model.eval(), (example_input,), 'model.onnx', dynamo=False)"
        in refused.value.detail
    )


class Lie:
    """A numpy scalar whose dtype makes its bytes an object's address, which numpy would follow."""

    def __reduce__(self) -> Any:
        return np.float64(0).__reduce__()[0], (np.dtype([("address", object)]), b"\x01" * 8)


def test_what_a_pickle_may_name_stands_for_classes_of_our_own(tmp_path: Path) -> None:
    assert {stand_in.__module__ for stand_in, _ in STAND_INS} == {
        "isslim.compress.ingest.unpickling"
    }
    same(read({"state_dict": state(), "lie": Lie()}, tmp_path), model())


def test_a_decoder_is_known_by_its_bias_where_its_name_does_not_tell(tmp_path: Path) -> None:
    for names in (("x", "z"), ("embedding", "dense"), ("E", "generator")):
        renamed = {
            name.replace("encoder", names[0]).replace("decoder", names[1]): tensor
            for name, tensor in state().items()
        }
        same(read(renamed, tmp_path), model())
    without_bias = {name: tensor for name, tensor in renamed.items() if name != "generator.bias"}
    with pytest.raises(
        UnknownArchitecture, match=r'"rename": \{"E.weight": "embedding.weight", "generator.weight"'
    ):
        read(without_bias, tmp_path)


def test_a_square_matrix_of_another_name_is_no_decoder(tmp_path: Path) -> None:
    tensors = {
        name: tensor
        for name, tensor in state().items()
        if not name.startswith(("encoder", "decoder"))
    }
    tensors |= {
        "embedding.weight": torch.randn(H, H),
        "attention.weight": torch.randn(H, H),
        "attention.bias": torch.randn(H),
    }
    with pytest.raises(UnknownArchitecture, match="no matrix is the decoder by its name"):
        read(tensors, tmp_path)


def test_the_bias_of_a_decoder_that_is_called_a_criterion_is_read(tmp_path: Path) -> None:
    renamed = {
        name.replace("decoder", "criterion.proj"): tensor for name, tensor in state().items()
    }
    same(read(renamed, tmp_path), model())


def test_pruning_masks_beside_the_model_are_no_model_and_must_be_obeyed(tmp_path: Path) -> None:
    mask = (torch.rand(4 * H, H) > 0.5).float()
    tensors = state() | {"rnn.weight_hh_l0": state()["rnn.weight_hh_l0"] * mask}
    masks = {"rnn.weight_hh_l0": mask}
    understood = read({"state_dict": tensors, "masks": masks}, tmp_path)
    assert "masks (1 tensor), beside the model" in understood.reading.dropped
    with pytest.raises(UnreadableUpload, match=r"not zero where the masks are: rnn\.weight_hh_l0"):
        read({"state_dict": state(), "masks": masks}, tmp_path)


def test_a_whole_number_by_itself_is_left_out_by_name(tmp_path: Path) -> None:
    understood = read(state() | {"iteration": torch.tensor(3)}, tmp_path)
    assert understood.reading.dropped == ("iteration (), a whole number, which no parameter is",)
