"""Good files to damage: small models of every form, and what goes with them."""

from __future__ import annotations

import argparse
import io
import json
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from safetensors.torch import save

from isslim.types.arrays import dump_npz

WORDS = ["<eos>", "<unk>", "the", "cat", "sees", "a", "dog", "no", "bird", "it"]
TEXT = "the cat sees a dog\nno bird sees it\n" * 30
_UNITS, _WIDTH = 6, 4


def checkpoints() -> tuple[bytes, ...]:
    """Language models: safetensors, archives and older files of PyTorch, with more beside them."""
    state = _state()
    extras = {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1, nlayers=1, tied=False),
        "itos": WORDS,
        "loss": np.float64(3.5),
        "counts": np.arange(len(WORDS)),
    }
    return (
        save(state),
        save({name: value.half() for name, value in state.items()}, {"tied": "true"}),
        *(_saved(content, zipped) for content in (state, extras) for zipped in (True, False)),
    )


def graphs() -> tuple[bytes, ...]:
    """ONNX graphs: a layer, a layer with functions, one in a loop, one with layout=1."""
    loop = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["value", "value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["a", "b", "c"]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["a", "b", "c"]),
        ],
    )
    return (
        _layer([]),
        _layer([helper.make_node("Loop", ["one", "", "said"], ["y"], body=loop)]),
        _layer([helper.make_node("twice", ["said"], ["y"], domain="own")], function=True),
        _layer(
            [
                helper.make_node("Shape", ["said"], ["shape"]),
                helper.make_node("Reshape", ["said", "shape"], ["y"]),
            ]
        ),
    )


def runs() -> tuple[bytes, ...]:
    """Recorded inputs."""
    draw = np.random.default_rng(0)
    arrays = {f"{n}/x": draw.normal(size=(3, 1, _WIDTH)).astype(np.float32) for n in range(3)}
    packed = io.BytesIO()
    np.savez_compressed(packed, x=arrays["0/x"], ids=np.arange(5), words=np.array(["a", "bc"]))
    return dump_npz(arrays), packed.getvalue()


def vocabularies() -> tuple[bytes, ...]:
    """Lists, dictionaries and tokenizers."""
    ids = {word: index for index, word in enumerate(WORDS)}
    return (
        "\n".join(WORDS).encode(),
        "\n".join(f"{word} {n}" for n, word in enumerate(WORDS)).encode(),
        json.dumps(WORDS).encode(),
        json.dumps({"word2idx": ids, "other": [1, 2]}).encode(),
        *(json.dumps(each).encode() for each in _tokenizers(ids)),
    )


def configs() -> tuple[bytes, ...]:
    """What may stand beside weights."""
    return (
        json.dumps({"tied": False, "layers": ["rnn"], "rename": {"a": "b"}, "drop": []}).encode(),
        json.dumps({"vocabulary": WORDS, "one_hot": False, "state": "state_dict"}).encode(),
    )


def questions() -> tuple[bytes, ...]:
    """Questions in the form of SQuAD."""
    asked = {
        "id": "1",
        "question": "who sees a dog?",
        "answers": [{"text": "the cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}],
    }
    paragraph = {"context": "the cat sees a dog", "qas": [asked, asked | {"id": "2"}]}
    return (json.dumps({"version": "1.1", "data": [{"paragraphs": [paragraph]}]}).encode(),)


def recipes() -> tuple[bytes, ...]:
    """Options of a job, as a form has them."""
    return (
        json.dumps({"name": "mine", "budget": {"perplexity_rise": 0.05}, "minutes": 1}).encode(),
        json.dumps({"mode": "learn", "learner": "l0", "learn_epochs": 2.0}).encode(),
        json.dumps({"metric": "argmax", "outputs": ["y"], "seed": 3, "unit": "word"}).encode(),
    )


def vectors() -> tuple[bytes, ...]:
    """Word vectors, a row for each word."""
    content = io.BytesIO()
    np.save(content, np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32))
    return (content.getvalue(),)


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "encoder.weight": (len(WORDS), _WIDTH),
        "rnn.weight_ih_l0": (4 * _UNITS, _WIDTH),
        "rnn.weight_hh_l0": (4 * _UNITS, _UNITS),
        "rnn.bias_ih_l0": (4 * _UNITS,),
        "rnn.bias_hh_l0": (4 * _UNITS,),
        "decoder.weight": (len(WORDS), _UNITS),
        "decoder.bias": (len(WORDS),),
    }
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def _saved(content: Any, zipped: bool) -> bytes:
    made = io.BytesIO()
    torch.save(content, made, _use_new_zipfile_serialization=zipped)
    return made.getvalue()


def _layer(more: list[NodeProto], *, function: bool = False) -> bytes:
    draw = np.random.default_rng(0)
    shapes = {
        "W": (1, 4 * _UNITS, _WIDTH),
        "R": (1, 4 * _UNITS, _UNITS),
        "M": (_UNITS, 3),
    }
    weights = [
        numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R"], ["all"], "lstm", hidden_size=_UNITS),
        helper.make_node("Squeeze", ["all", "one"], ["steps"]),
        helper.make_node("MatMul", ["steps", "M"], ["said" if more else "y"]),
        *more,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", "b", _WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["t", "b", 3])],
        [*weights, numpy_helper.from_array(np.array([1]), "one")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets[: 1 + function], ir_version=8)
    if function:
        twice = [helper.make_node("Add", ["a", "a"], ["b"])]
        model.functions.append(
            helper.make_function("own", "twice", ["a"], ["b"], twice, opsets[:1])
        )
    content: bytes = model.SerializeToString()
    return content


def _tokenizers(ids: dict[str, int]) -> list[dict[str, Any]]:
    words: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Replace", "pattern": {"String": "\n"}, "content": " <eos> "},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "<unk>"},
    }
    letters = {letter: n for n, letter in enumerate("abcdefghi")}
    pairs = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "vocab": letters | {"ab": 9},
        "merges": [["a", "b"]],
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": r"\w+|\s"},
        "behavior": "Isolated",
        "invert": False,
    }
    return [words, words | {"normalizer": None, "pre_tokenizer": split, "model": pairs}]
