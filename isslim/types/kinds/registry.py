"""The kinds of models there are: those of the product, and those that a plug-in registers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler

from isslim.types.kinds.description import KindDescription
from isslim.types.kinds.graphs import GRAPHS
from isslim.types.kinds.language import LANGUAGE
from isslim.types.kinds.metric_format import PERCENT, MetricFormat
from isslim.types.kinds.questions import QUESTIONS
from isslim.types.recipe import COMMAND, METRIC_OF_GRAPHS

_KINDS: dict[str, KindDescription] = {
    each.name: each for each in (LANGUAGE, QUESTIONS, GRAPHS)
}  # those of plug-ins follow


class UnknownKind(ValueError):
    """No kind of that name is registered.

    Attributes:
        name: the name that was requested.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the kind '{name}' is not known here; known: {', '.join(_KINDS)}. One of a plug-in "
            "is known where `ISS_KINDS` names the plug-in's package"
        )


def register(description: KindDescription) -> None:
    """Makes a kind known in this process; the same one again changes nothing.

    Raises:
        ValueError: when another kind has its name, or one of its metrics.
    """
    known = _KINDS.get(description.name)
    if known is description:
        return
    if known is not None:
        raise ValueError(f"there is another kind of the name '{description.name}'")
    for other in _KINDS.values():
        if taken := sorted(other.metrics.keys() & description.metrics.keys()):
            raise ValueError(f"the metric '{taken[0]}' is of the kind '{other.name}'")
    _KINDS[description.name] = description


def kinds() -> tuple[KindDescription, ...]:
    """All of them, those of the product first."""
    return tuple(_KINDS.values())


def kind_named(name: str) -> KindDescription:
    """The kind with a name.

    Raises:
        UnknownKind: when none is registered under it.
    """
    found = _KINDS.get(name)
    if found is None:
        raise UnknownKind(name)
    return found


def title_of(name: str) -> str:
    """A kind's title, or its name where it is not known, as in a client without the plug-in."""
    return _KINDS[name].title if name in _KINDS else name


def run_label(name: str, steps: int, batch: int, run: str | None = None) -> str:
    """Describes what was timed, such as `one text of 30 tokens`.

    Args:
        name: of the model's kind; one that is not known here is described by the numbers alone.
        steps: tokens of each text or context.
        batch: texts or questions in the batch.
        run: which recorded run, and the shapes of its inputs; None: no recorded run was timed.
    """
    if name in _KINDS:
        return _KINDS[name].run_label(steps, batch, run)
    return run or f"{steps} x {batch}"


def metric_format_of(metric: str) -> MetricFormat:
    """How a metric is worded; an evaluation has the name that its operator gave it."""
    for kind in _KINDS.values():
        if metric in kind.metrics:
            return kind.metrics[metric]
    name = metric.removeprefix(COMMAND)
    loss = f"worsening of {name}"
    return MetricFormat(
        name, loss, "{:.5g}".format, PERCENT, f"{loss} (%)", factor=100, worse="worse"
    )


class _Choices:
    """The JSON schema of a string that is one of the names registered when the schema is made."""

    def __init__(self, names: Callable[[], list[str]], pattern: str | None = None) -> None:
        self._names, self._pattern = names, pattern

    def __get_pydantic_json_schema__(
        self, core: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        named = {"enum": self._names(), "type": "string"}
        if self._pattern is None:
            return named
        return {"anyOf": [named, {"pattern": self._pattern, "type": "string"}]}


def _own_metrics() -> list[str]:
    """Metrics that a recipe never names, since their kind has only one."""
    names = (name for kind in kinds() for name in kind.metrics)
    return [name for name in names if not re.match(METRIC_OF_GRAPHS, name)]


_NAME = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
KindName = Annotated[str, _NAME, _Choices(lambda: [kind.name for kind in kinds()])]
"""A kind's name. Any is accepted: a client or service without the plug-in lists such a bundle."""
ArchitectureName = Annotated[
    str, _NAME, _Choices(lambda: [name for kind in kinds() for name in kind.architectures])
]
MetricName = Annotated[
    str,
    Field(pattern=rf"^({COMMAND})?[a-z0-9][a-z0-9_-]{{0,63}}$"),
    _Choices(_own_metrics, METRIC_OF_GRAPHS),
]
"""The name of a loss's metric: a kind's, or `command:` and the name of an evaluation."""
