"""Networks of every kind that has PyTorch modules, from the sizes that were saved with them.

It needs torch, and neither ONNX nor the libraries of service and store: it is what
`isslim.torch.load` uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isslim.compress.kinds.language.networks import registry as language
from isslim.compress.kinds.questions.networks import registry as questions
from isslim.compress.training.network import TrainableNetwork
from isslim.types.network_spec import NetworkSpec

Builder = Callable[[NetworkSpec], TrainableNetwork]
_BUILDERS: dict[str, Builder] = {
    name: kind.build_spec for kind in (language, questions) for name in kind.ARCHITECTURES
}


def register(architectures: Sequence[str], builder: Builder) -> None:
    """Makes architectures known in this process, those of a plug-in.

    Args:
        architectures: their names in a manifest.
        builder: makes a network of one of them, of the sizes that were saved.
    """
    _BUILDERS.update(dict.fromkeys(architectures, builder))


def build_network(saved: NetworkSpec) -> TrainableNetwork:
    """A network of an architecture and sizes, with torch's random weights.

    Raises:
        ValueError: when the architecture is not known, or the sizes do not fit together.
        TypeError: when the sizes are not those of the architecture.
    """
    builder = _BUILDERS.get(saved.architecture)
    if builder is None:
        raise ValueError(
            f"the architecture '{saved.architecture}' is not known here; known: "
            f"{', '.join(_BUILDERS)}"
        )
    return builder(saved)
