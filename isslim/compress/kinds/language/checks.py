"""The sender's own checks: is the model, as it was read, the one that they have?

Weights do not show in which order layers run, whether there is a ReLU or a scale between them, or
which token an id means. The sender can show it: by the perplexity that they measured on a text, or
by an ONNX export of the same model.

Legend: N tokens, B streams, T rows of them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from isslim.compress.devices import device_of, placed
from isslim.compress.errors import CheckFailed, CheckUnusable
from isslim.compress.kinds.graphs.understanding import graph_file
from isslim.compress.kinds.language.export_check import compared_with_export
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.statistics.perplexity import perplexity_of
from isslim.runtime.errors import TextRefused
from isslim.runtime.language.text import TextCodec
from isslim.types.inspection import CheckResult
from isslim.types.kinds.uploads import UploadFields
from isslim.types.recipe import Check, Recipe

STREAM, LEAD, STEPS = 500, 100, 50
"""Least tokens of a stream, tokens of the one before that are read before it, and steps of one
run."""
MAX_STREAMS, MAX_SCORES = 64, 1 << 24
"""Streams in a batch, and scores that are held in memory together."""
_DIFFERENT = (
    "the order in which the layers run (`layers` in the config), or layers side by side that were "
    "read as one above the other",
    "a ReLU, a residual link, a scale or a normalisation between layers, which leaves no weights",
    "the vocabulary: another file, or another order of its ids",
    "how the text becomes tokens: line breaks, lower case, unknown words (`unit` and "
    "`start_token` in the recipe)",
)


def run_checks(
    network: LanguageModel,
    codec: TextCodec,
    layout: str,
    files: UploadFields[Path],
    recipe: Recipe,
) -> list[CheckResult]:
    """Runs the checks that were sent, if any.

    Args:
        network: the model as it was read.
        codec: its tokens.
        layout: as what it was read, in words.
        files: with those of the checks.
        recipe: with the perplexity that the sender measured, if any.

    Returns:
        What was compared.

    Raises:
        CheckFailed: when the model differs from the sender's.
        CheckUnusable: when a check cannot be done.
    """
    found: list[CheckResult] = []
    try:
        if files.check_graph is not None:
            path = graph_file(files.check_graph, files.check_graph_data).path
            found.append(compared_with_export(network, path, codec, recipe.seed))
        if recipe.check is not None or files.check is not None:
            found.append(_perplexity(network, codec, files, recipe.check))
    except CheckFailed as failed:
        raise CheckFailed(
            failed.detail,
            [
                f"it was read as: {layout}",
                *failed.issues,
                *(f"may be different: {each}" for each in _DIFFERENT),
            ],
        ) from failed
    return found


def _perplexity(
    network: LanguageModel, codec: TextCodec, files: UploadFields[Path], check: Check | None
) -> CheckResult:
    path, field = (files.held_out, "held_out") if files.check is None else (files.check, "check")
    if check is None:
        raise CheckUnusable(
            "a text was sent as `check` without its perplexity: name it in the options, "
            '`{"check": {"perplexity": 83.8}}`'
        )
    if path is None:
        raise CheckUnusable(
            f"the options name a perplexity of {check.perplexity:g}, and the text that it was "
            "measured on was not sent: send it as `check`, or as `held_out`"
        )
    found = perplexity_of_all(network, _ids(codec, path, field), codec.start_id)
    if not abs(found / check.perplexity - 1) <= check.tolerance:  # so that NaN fails too
        raise CheckFailed(
            f"the perplexity of `{field}` is {found:,.2f} by the model as it was read, and you "
            f"measured {check.perplexity:,.2f}; they may differ by {check.tolerance:.2%}"
        )
    return CheckResult(
        name=f"perplexity of `{field}`",
        expected=f"{check.perplexity:,.2f}",
        found=f"{found:,.2f}",
        tolerance=f"{check.tolerance:.2%}",
    )


def _ids(codec: TextCodec, path: Path, field: str) -> Tensor:
    try:
        ids = codec.encode(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, TextRefused) as error:
        raise CheckUnusable(
            f"the text `{field}` cannot be read with this vocabulary: {error}"
        ) from error
    if len(ids) < 2:
        raise CheckUnusable(
            f"the text `{field}` has {len(ids)} tokens; a perplexity needs at least 2"
        )
    return torch.tensor(ids, dtype=torch.int64)


def perplexity_of_all(network: LanguageModel, tokens: Tensor, start: int | None) -> float:
    """The perplexity of a whole text, read as one stream from the zero state.

    That is exp of the mean negative log-likelihood of its tokens. For speed the text is cut into
    a batch of streams, each of which first reads the last `LEAD` tokens of the previous one: what
    is further back hardly changes a state. The network is left in evaluation mode.

    Args:
        network: the model.
        tokens: int64 (N,), N at least 2.
        start: read before the first token; if None, the first token is given, and not counted.
    """
    network.eval()
    with placed(network), torch.no_grad():
        device = device_of(network)
        before = torch.tensor([] if start is None else [start], dtype=torch.int64)
        text = torch.cat([before, tokens])
        given, labels = text[:-1], text[1:]  # (N,)
        count = len(labels)
        streams = max(1, min(MAX_STREAMS, count // STREAM))
        rows = -(-count // streams)
        padded = nn.functional.pad(
            torch.stack([given, labels]), (0, rows * streams - count), value=0
        )
        inputs, wanted = (
            each.view(streams, rows).t().contiguous().to(device) for each in padded
        )  # (T, B)
        counts = (torch.arange(rows * streams).view(streams, rows).t() < count).to(device)
        state = network.zero_state(streams)
        if streams > 1:
            lead = inputs[-min(LEAD, rows) :, :-1]
            _, warm = network(lead, network.zero_state(streams - 1))
            state = [
                tuple(
                    torch.cat([zero[:, :1], own], dim=1)
                    for zero, own in zip(zeros, layer, strict=True)
                )
                for zeros, layer in zip(state, warm, strict=True)
            ]
        total, steps = 0.0, max(1, min(STEPS, MAX_SCORES // (streams * network.vocabulary)))
        for begin in range(0, rows, steps):
            part = slice(begin, begin + steps)
            logits, state = network(inputs[part], state)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), wanted[part].flatten(), reduction="none"
            )
            total += float(losses.double()[counts[part].flatten()].sum())
    return perplexity_of(total / count)
