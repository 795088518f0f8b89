"""Names of arrays, axes and sites that are the same in every language model."""

from __future__ import annotations

from isslim.compress.pruning import blocks, rotation

EMBEDDING = "embedding"
"""The axis of the embedding's width, and the activation that is looked up."""
EMBEDDING_WEIGHT = rotation.LOOKED_UP
"""(V, E); in a tied model also the decoder's matrix."""
DECODER = blocks.DECODER
"""The site of the logits."""
DECODER_WEIGHT = "decoder.weight"
"""(V, H), untied."""
DECODER_BIAS = "decoder.bias"
"""(V,)."""
