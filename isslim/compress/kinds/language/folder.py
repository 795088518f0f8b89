"""A language model as a folder that `train` writes: weights, sizes and words.

The folder is also an upload: `model.safetensors`, `config.json` and `words.txt` are the fields
`model`, `config` and `vocabulary`.
"""

from __future__ import annotations

from pathlib import Path

from isslim.compress.kinds.language.ingest.layouts import read_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.training.saved_network import TRAINED, save_network
from isslim.store.files import atomic_file

WORDS = "words.txt"


def save_model(folder: Path, network: LanguageModel, words: list[str]) -> None:
    """Writes the folder's files, the weights last.

    Args:
        folder: has to exist.
        network: the trained model.
        words: the vocabulary, in the order of its ids.
    """
    with atomic_file(folder / WORDS) as temporary:
        temporary.write_text("\n".join(words) + "\n", encoding="utf-8")
    save_network(folder, network, TRAINED)


def read_trained(folder: Path) -> LanguageModel:
    """The network that `save_model` wrote, in this release or an earlier one.

    Raises:
        FileNotFoundError: when it is not there.
    """
    names = (TRAINED.weights, TRAINED.spec, WORDS)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; the folder that `train` wrote is expected"
        )
    return read_model(folder / TRAINED.weights, folder / TRAINED.spec).network
