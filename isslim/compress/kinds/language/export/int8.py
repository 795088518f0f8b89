"""The int8 form of a language model.

GRUs and narrow recurrences have two: a Scan of products in 8 bits, or ONNX Runtime's operator. The
GRU's stays float32; a narrow recurrence is multiplied out for it, which is more work and costs no
dispatch at every step. In small layers the operator is faster (`benchmarks.int8_cells`).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from isslim.compress.export.int8_forms import EightBit, Form, Part
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.export.stacked import Recurrence, has_narrow_recurrence
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.gru import GruLanguageModel


def quantize_network(network: LanguageModel, source: Path, target: Path, form: Form) -> EightBit:
    """Writes the int8 form of a language model.

    Args:
        network: the model.
        source: its float32 graph, as `export` writes it.
        target: the file to write.
        form: how weights take 8 bits; with `scans` GRUs and narrow recurrences are Scans.

    Returns:
        What takes 8 bits in it; no parts, and no file, where nothing can.
    """
    if not _has_two(network):
        return quantize(source, target, form)
    scans = form.scans and Part.RECURRENT not in form.kept
    # An LSTM without a narrow recurrence is ONNX Runtime's int8 operator in both.
    scanned: Recurrence = "scan" if isinstance(network, GruLanguageModel) else "narrow"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="recurrence-") as folder:
        drawn = Path(folder) / "float32.onnx"
        export(network, drawn, recurrence=scanned if scans else "native")
        return replace(quantize(drawn, target, form), scans=scans)


def _has_two(network: LanguageModel) -> bool:
    """Whether a layer of a network has two int8 forms."""
    return has_narrow_recurrence(network) or isinstance(network, GruLanguageModel)
