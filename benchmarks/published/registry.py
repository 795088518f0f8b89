"""The published models, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.published import (
    ddddocr,
    dksplit,
    dtln,
    g2p_en,
    lac,
    legere,
    nsnet2,
    resemblyzer,
    silero,
)

MODELS = (
    *silero.MODELS,
    *dtln.MODELS,
    *nsnet2.MODELS,
    *resemblyzer.MODELS,
    *ddddocr.MODELS,
    *legere.MODELS,
    *dksplit.MODELS,
    *lac.MODELS,
    *g2p_en.MODELS,
)
