"""Puts the nodes of a model's functions where they are called, unless they call without end."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, inliner

from isslim.compress.errors import GraphNotUnderstood
from isslim.compress.onnx.model.split_model import nodes

MAX_NODES = 200_000
"""Nodes that the calls of a model's functions may become; exported graphs have some thousands."""
Name = tuple[str, str]


def inlined(model: ModelProto) -> ModelProto:
    """A model without functions; itself, if it has none.

    Raises:
        GraphNotUnderstood: when a function calls itself, their calls become too many nodes, or they
            do not fit together.
    """
    if not model.functions:
        return model
    sizes = _Sizes(model)
    count = sum(sizes.of(node) for node in nodes(model.graph))
    if count > MAX_NODES:
        raise GraphNotUnderstood(
            f"the calls of the model's functions become {count:,} nodes; at most {MAX_NODES:,} are "
            "read"
        )
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # those of a library in C++, of several classes
        raise GraphNotUnderstood(
            f"the model's functions cannot be put where they are called: {error}"
        ) from error


class _Sizes:
    """How many nodes each call of a function becomes.

    Args:
        model: with functions, of which any may call any.
    """

    def __init__(self, model: ModelProto) -> None:
        self._calls = {
            (each.domain, each.name): [(node.domain, node.op_type) for node in _inside(each.node)]
            for each in model.functions
        }
        self._known: dict[Name, int] = {}
        for name in self._calls:
            self._measure(name)

    def of(self, node: NodeProto) -> int:
        """Of a node, 1 where it calls no function."""
        return self._known.get((node.domain, node.op_type), 1)

    def _measure(self, first: Name) -> None:
        """Measures a function and what it calls, without recursion: a chain of calls may be long.

        Raises:
            GraphNotUnderstood: when it calls itself.
        """
        open_calls: dict[Name, bool] = {}
        waiting = [first]
        while waiting:
            name = waiting[-1]
            if name in self._known:
                waiting.pop()
                continue
            called = [each for each in self._calls[name] if each in self._calls]
            unknown = [each for each in called if each not in self._known]
            if any(each in open_calls for each in unknown) or name in unknown:
                raise GraphNotUnderstood(
                    f"the function '{name[1]}' of the model calls itself, so that it never ends"
                )
            if unknown:
                open_calls[name] = True
                waiting += dict.fromkeys(unknown)
                continue
            open_calls.pop(name, None)
            waiting.pop()
            self._known[name] = sum(self._known.get(each, 1) for each in self._calls[name])


def _inside(found: object) -> list[NodeProto]:
    """Nodes, those of graphs in them included."""
    every: list[NodeProto] = []
    for node in found:  # type: ignore[attr-defined]
        every.append(node)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                every += nodes(graph)
    return every
