"""Which nodes were one module, as the metadata of a file says."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from isslim.compress.onnx.model.stacks import read_stacks, write_stacks


def test_noted_stacks_are_read() -> None:
    model = ModelProto()
    assert read_stacks(model) is None
    write_stacks(model, [["/rnn/LSTM", "/rnn/LSTM_1"], ["/gru/GRU"]])
    assert read_stacks(model) == [["/rnn/LSTM", "/rnn/LSTM_1"], ["/gru/GRU"]]


@pytest.mark.parametrize(
    "value", ["", "{}", "3", '["a"]', '[["a"], [3]]', "[" * 100_000, '[{"a": 1}]', "null"]
)
def test_what_is_no_note_is_none(value: str) -> None:
    model = ModelProto()
    entry = model.metadata_props.add()
    entry.key, entry.value = "isslim.stacks", value
    assert read_stacks(model) is None


def test_two_notes_are_none() -> None:
    model = ModelProto()
    write_stacks(model, [["a"]])
    write_stacks(model, [["b"]])
    assert read_stacks(model) is None
