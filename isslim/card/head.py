"""The card's head: YAML that the Hugging Face Hub reads (kind, tags, licence, metrics).

Every text in it is a double-quoted YAML string, escaped character by character, so that no name or
file of an uploader can end a string, add a key or close the head.
"""

from __future__ import annotations

import math

from isslim.types.kinds.registry import kind_named, metric_format_of
from isslim.types.manifest import Manifest, VariantRecord

FENCE = "---"
_ESCAPED = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}


def head(manifest: Manifest) -> str:
    """The head with its fences; the last line has no line break.

    Metrics are left out where nothing was evaluated on data that nothing was fitted to.

    Args:
        manifest: complete but for `files`.
    """
    recipe, kind = manifest.recipe, kind_named(manifest.task)
    lines = [FENCE, f"library_name: {quoted('onnx')}"]
    if kind.pipeline_tag is not None:
        lines.append(f"pipeline_tag: {quoted(kind.pipeline_tag)}")
    lines += ["tags:", *(f"- {quoted(tag)}" for tag in _tags(manifest))]
    if recipe.license is not None:
        lines.append(f"license: {quoted(recipe.license)}")
    if recipe.base_model is not None:
        lines.append(f"base_model: {quoted(recipe.base_model)}")
        lines.append(f"base_model_relation: {quoted('quantized')}")
    if manifest.provenance.not_evaluated is None:
        lines += _model_index(manifest)
    return "\n".join([*lines, FENCE])


def without_head(card: str) -> str:
    """A card without its head, as a terminal shows it."""
    if not card.startswith(f"{FENCE}\n"):
        return card
    return card.split(f"\n{FENCE}\n", 1)[-1].lstrip("\n")


def quoted(text: str) -> str:
    """A text as a double-quoted YAML string on one line, of printable characters only."""
    return f'"{"".join(map(_escaped, text))}"'


def number(value: float) -> str:
    """A finite number as YAML writes it: a mantissa before an exponent has a point."""
    text = repr(float(value))
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _tags(manifest: Manifest) -> list[str]:
    has_int8 = any(variant.eight_bit for variant in manifest.variants)
    return [
        "isslim",
        manifest.architecture.removesuffix("-language-model"),
        "structured-pruning",
        "onnx",
        *(["int8"] if has_int8 else []),
    ]


def _model_index(manifest: Manifest) -> list[str]:
    """One result, with a metric for each variant."""
    metrics = [line for variant in manifest.variants for line in _metric(manifest, variant)]
    if not metrics:
        return []
    kind = kind_named(manifest.task)
    return [
        "model-index:",
        f"- name: {quoted(manifest.name)}",
        "  results:",
        "  - task:",
        f"      type: {quoted(kind.pipeline_tag or kind.name)}",
        "    dataset:",
        f"      type: {quoted('held-out')}",
        f"      name: {quoted(manifest.provenance.held_out)}",
        "    metrics:",
        *metrics,
    ]


def _metric(manifest: Manifest, variant: VariantRecord) -> list[str]:
    value = variant.metrics[manifest.metric]
    if not math.isfinite(value):
        return []
    name = f"{metric_format_of(manifest.metric).name} of {variant.name}"
    return [
        f"    - type: {quoted(manifest.metric)}",
        f"      name: {quoted(name)}",
        f"      value: {number(value)}",
    ]
