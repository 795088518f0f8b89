"""Embedding and decoder among the matrices beside the recurrent layers."""

from __future__ import annotations

import numpy as np
import pytest

from isslim.compress.kinds.language.ingest.ends import (
    EmbeddingAndDecoder,
    EmbeddingOrDecoderUnknown,
    EndHints,
    find_embedding_and_decoder,
)

V, E, H = 11, 4, 6


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        name.replace("__", "."): generator.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def found(
    matrices: dict[str, np.ndarray], hints: EndHints = EndHints(), top: int = H
) -> EmbeddingAndDecoder:
    given = {name: each for name, each in matrices.items() if each.ndim == 2}
    vectors = {name: each for name, each in matrices.items() if each.ndim == 1}
    return find_embedding_and_decoder(given, vectors, E, top, hints)


@pytest.mark.parametrize(
    ("embedding", "decoder"),
    [("embed", "fc"), ("encoder", "decoder"), ("model.word_embeddings", "model.lm_head")],
)
def test_names_show_both_and_the_bias_of_the_decoders_module(embedding: str, decoder: str) -> None:
    own = {
        f"{embedding}.weight": np.zeros((V, E), np.float32),
        f"{decoder}.weight": np.ones((V, H), np.float32),
        f"{decoder}.bias": np.zeros(V, np.float32),
        "norm.bias": np.zeros(V, np.float32),
    }
    ends = found(own)
    assert (ends.embedding, ends.decoder) == (f"{embedding}.weight", f"{decoder}.weight")
    assert ends.bias == f"{decoder}.bias"
    assert not ends.tied


def test_a_bias_shows_the_decoder_where_names_do_not() -> None:
    ends = found(arrays(a__weight=(V, E), b__weight=(V, H), b__bias=(V,)))
    assert (ends.embedding, ends.decoder, ends.bias) == ("a.weight", "b.weight", "b.bias")


def test_equal_matrices_are_tied_unless_the_config_declares_otherwise() -> None:
    table = arrays(embed__weight=(V, E))["embed.weight"]
    both = {"embed.weight": table, "decoder.weight": table.copy()}
    assert found(both, top=E).tied
    assert not found(both, EndHints(tied=False), top=E).tied
    both["decoder.weight"][0, 0] += 1
    with pytest.raises(EmbeddingOrDecoderUnknown, match="the config says tied, but"):
        found(both, EndHints(tied=True), top=E)


def test_a_missing_decoder_is_the_embedding_only_where_that_is_declared() -> None:
    only = arrays(embed__weight=(V, E))
    assert found(only, EndHints(tied=True), top=E).why == "config"
    assert found(only, EndHints(tied_by="args.tied"), top=E).why == "args.tied"
    with pytest.raises(EmbeddingOrDecoderUnknown, match=r'say so in the config: \{"tied": true\}'):
        found(only, top=E)


def test_a_missing_embedding_is_one_hot_only_where_that_is_declared() -> None:
    only = arrays(decoder__weight=(V, H))
    assert found(only, EndHints(one_hot=True)).embedding is None
    assert found(only, EndHints(spelled=True)).embedding is None
    for hints in (EndHints(), EndHints(one_hot=False, spelled=True)):
        with pytest.raises(EmbeddingOrDecoderUnknown, match="the embedding is missing"):
            found(only, hints)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (arrays(embed__weight=(V, E), fc__weight=(V, H), out__weight=(V, H)), "several matrices"),
        (arrays(embed__weight=(V, E), fc__weight=(V - 1, H)), "no language model"),
        (arrays(embed__weight=(V, E), head__weight=(V, H), tail_0__weight=(3, H)), None),
        (arrays(embed__weight=(V, E), out_layers_0__weight=(V, H)), None),
        (arrays(embed__weight=(V, E), cluster_weight=(2, H)), "adaptive softmax"),
        (arrays(embed__weight=(V, E), fc__weight=(V, H + 1)), "decoder's matrix"),
    ],
)
def test_what_fits_twice_or_not_at_all_is_refused(
    given: dict[str, np.ndarray], words: str | None
) -> None:
    if words is None:
        renamed = {name.replace("_0.", ".0."): each for name, each in given.items()}
        given, words = renamed, "decoder in parts"
    with pytest.raises(EmbeddingOrDecoderUnknown, match=words):
        found(given)
