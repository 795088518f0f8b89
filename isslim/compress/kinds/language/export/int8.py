"""The int8 form of a language model.

A narrow recurrence has two: a Scan of two small products at every step, or ONNX Runtime's operator
with the one product of both matrices, which multiplies more and costs no dispatch. In small layers
the operator is faster (`benchmarks.int8_cells`).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from isslim.compress.export.int8_forms import EightBit, Form, Part
from isslim.compress.export.quantize import quantize
from isslim.compress.kinds.language.export import export
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.stacked import StackedLanguageModel


def quantize_network(network: LanguageModel, source: Path, target: Path, form: Form) -> EightBit:
    """Writes the int8 form of a language model.

    Args:
        network: the model.
        source: its float32 graph, as `export` writes it.
        target: the file to write.
        form: how weights take 8 bits; with `scans` a narrow recurrence is a Scan, else it is
            multiplied out.

    Returns:
        What takes 8 bits in it; no parts, and no file, where nothing can.
    """
    if not isinstance(network, StackedLanguageModel) or not any(network.spec.recurrent_ranks):
        return quantize(source, target, form)
    if form.scans:
        return replace(quantize(source, target, form), scans=Part.RECURRENT not in form.kept)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="operators-") as folder:
        operators = Path(folder) / "operators.onnx"
        export(network, operators, recurrence="native")
        return quantize(operators, target, form)
