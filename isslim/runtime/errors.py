"""Errors of the runtime.

RuntimeFault
|-- UnknownVariant      the bundle has no variant of that name
|-- UnknownTask         this process does not serve a bundle's task
|-- TextRefused         a text holds a token outside the vocabulary, or no known token
|-- TokenOutOfRange     a token id is outside the vocabulary
|-- DeviceUnavailable   ONNX Runtime offers no such device here
|-- InputsRefused       a graph's inputs are missing, too many, or of another type or shape
|-- RunStopped          a run was stopped before it finished
|-- GraphRefused        a graph does not keep to its contract of `isslim/runtime/contract.py`
"""

from __future__ import annotations

from pathlib import Path


class RuntimeFault(Exception):
    """Root of the runtime's errors."""


class UnknownVariant(RuntimeFault):
    """A bundle has no variant with the requested name.

    Attributes:
        name: the requested name.
        known: the existing variants.
    """

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        super().__init__(f"there is no variant '{name}'; there is: {', '.join(known) or 'none'}")


class UnknownTask(RuntimeFault):
    """This process does not serve the task of a bundle.

    Attributes:
        task: of the bundle.
        known: the tasks that are served.
    """

    def __init__(self, task: str, known: list[str]) -> None:
        self.task, self.known = task, known
        super().__init__(
            f"this service does not know the kind '{task}'; it knows {', '.join(known)}. Name the "
            "package that brings the kind in ISS_KINDS"
        )


class TextRefused(RuntimeFault):
    """A text cannot be scored with this vocabulary.

    Attributes:
        detail: what is wrong.
        issues: what was found, one line each.
    """

    def __init__(self, detail: str, issues: list[str] | None = None) -> None:
        self.detail, self.issues = detail, issues or []
        super().__init__(f"{detail}: {', '.join(self.issues)}" if self.issues else detail)


class TokenOutOfRange(RuntimeFault):
    """A token id is negative or not below the size of the vocabulary.

    Attributes:
        token: the first such id.
        vocabulary: the number of tokens there are.
    """

    def __init__(self, token: int, vocabulary: int) -> None:
        self.token, self.vocabulary = token, vocabulary
        super().__init__(
            f"token {token} is not in the vocabulary of {vocabulary:,} (0 to {vocabulary - 1})"
        )


class DeviceUnavailable(RuntimeFault):
    """ONNX Runtime offers no such device on this machine.

    Attributes:
        device: the requested device.
        known: the available devices.
    """

    def __init__(self, device: str, known: list[str]) -> None:
        self.device, self.known = device, known
        super().__init__(f"there is no device '{device}' here; there is: {', '.join(known)}")


class InputsRefused(RuntimeFault):
    """A graph cannot be run on the given inputs.

    Attributes:
        issues: everything found, one line each.
    """

    def __init__(self, issues: list[str]) -> None:
        self.issues = issues
        super().__init__("; ".join(issues))


class RunStopped(RuntimeFault):
    """A run was stopped before it finished: at its deadline, or because nobody needs its result."""

    def __init__(self) -> None:
        super().__init__("the run was ended before it was done; its model may have been deleted")


class GraphRefused(RuntimeFault):
    """A graph cannot be opened, or does not keep to its contract of `isslim/runtime/contract.py`.

    Attributes:
        path: the graph's file.
        issues: everything found, one line each.
    """

    def __init__(self, path: Path, issues: list[str]) -> None:
        self.path, self.issues = path, issues
        super().__init__(f"'{path.name}' cannot be used: {'; '.join(issues)}")
