"""A question answering model as a folder: `model.safetensors` and the codec's three files.

The folder is also an upload. The sizes follow from the weights' shapes
(`isslim/compress/kinds/questions/ingest.py`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from isslim.compress.kinds.questions.networks.bidaf import Bidaf
from isslim.runtime.questions.question_tokenizer import PassageCodec


def save_reader(folder: Path, network: Bidaf, codec: PassageCodec) -> None:
    """Writes the folder's files; the weights last, and whole or not at all.

    Args:
        folder: has to exist.
        network: the model.
        codec: its words, vectors and characters.
    """
    codec.save(folder)
    weights = {name: torch.from_numpy(array) for name, array in network.arrays().items()}
    temporary = folder / "model.safetensors.partial"
    temporary.write_bytes(save(weights))
    temporary.replace(folder / "model.safetensors")
