"""A strategy for ONNX graphs: any field of any message may hold something else of its type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from onnx import ModelProto

from benchmarks.fuzz.mutations import NUMBERS, TEXTS

_TEXTS = tuple(text for text in TEXTS if text.isprintable() or text.isascii())
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@st.composite
def onnx_files(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Graphs with one to three of their fields changed.

    Args:
        draw: of the strategy.
        good: graphs.
    """
    model = ModelProto.FromString(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 3))):
        messages = list(_messages(model))
        message = draw(st.sampled_from(messages))
        # What is there twice as often as what is not: most fields of most messages are empty.
        there = [field for field, _ in message.ListFields()]
        field = draw(st.sampled_from([*there, *there, *message.DESCRIPTOR.fields]))
        _change(draw, message, field, messages)
    content: bytes = model.SerializeToString()
    return content


def _messages(message: Any) -> Iterator[Any]:
    """A message and all within it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _change(draw: st.DrawFn, message: Any, field: Any, messages: Sequence[Any]) -> None:
    if field.is_repeated:
        _change_list(draw, getattr(message, field.name), field, messages)
    elif draw(st.integers(0, 4)) == 0:
        message.ClearField(field.name)
    elif field.message_type is None:
        setattr(message, field.name, draw(_scalars(field, messages)))
    else:
        getattr(message, field.name).CopyFrom(_another(draw, field, messages))


def _change_list(draw: st.DrawFn, values: Any, field: Any, messages: Sequence[Any]) -> None:
    change = draw(st.sampled_from(("add", "add", "replace", "remove", "repeat", "empty")))
    at = draw(st.integers(0, max(0, len(values) - 1)))
    if change == "empty":
        del values[:]
    elif change == "repeat" and values:
        values.append(values[at])
    elif change in ("replace", "remove") and values:
        del values[at]
    if change in ("add", "replace"):
        is_plain = field.message_type is None
        new = draw(_scalars(field, messages)) if is_plain else _another(draw, field, messages)
        values.append(new)


def _another(draw: st.DrawFn, field: Any, messages: Sequence[Any]) -> Any:
    """A message for a field: one of those that are there, or an empty one."""
    same = [each for each in messages if each.DESCRIPTOR is field.message_type]
    found = draw(st.sampled_from([None, *same]))
    copied = type(found)() if found is not None else _empty(field)
    if found is not None:
        copied.CopyFrom(found)
    return copied


def _empty(field: Any) -> Any:
    """A new message of a field's type."""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(field.message_type)()


def _scalars(field: Any, messages: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Values that a field may hold."""
    kind = field.cpp_type
    if kind in _RANGES:
        low, high = _RANGES[kind]
        odd = [number for number in NUMBERS if low <= number <= high]
        return st.sampled_from(odd) | st.integers(low, high) | st.integers(0, 30)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([each.number for each in field.enum_type.values])
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.floats(width=32)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=64)
    known = {
        text
        for each in messages
        for one, value in each.ListFields()
        if one.type == FieldDescriptor.TYPE_STRING
        for text in (value if one.is_repeated else (value,))
    }
    return st.sampled_from(sorted(known | set(_TEXTS)))
