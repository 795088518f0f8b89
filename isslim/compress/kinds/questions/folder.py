"""A question answering model as a folder: weights, sizes, and the codec's three files.

The folder is also an upload.
"""

from __future__ import annotations

from pathlib import Path

from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.compress.training.saved_network import TRAINED, save_network
from isslim.runtime.questions.question_tokenizer import PassageCodec


def save_reader(folder: Path, network: Bidaf, codec: PassageCodec) -> None:
    """Writes the folder's files; the weights last, and whole or not at all.

    Args:
        folder: has to exist.
        network: the model.
        codec: its words, vectors and characters.
    """
    codec.save(folder)
    save_network(folder, network, TRAINED)
