"""Where a bundle comes from: its upload, its data, its evaluation, the machine that made it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field

from isslim.types.recipe import StrictModel

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["ba7816bf" * 8])]


class Provenance(StrictModel):
    """Where the bundle comes from."""

    upload_sha256: Sha256 = Field(description="SHA-256 of the uploaded model")
    layout: str = Field(
        description="which state-dict layout was recognised",
        examples=["AWD-LSTM: 3 LSTM layers, tied"],
    )
    calibration: str = Field(
        description="origin and number of tokens", examples=["uploaded text (10,000 tokens)"]
    )
    held_out: str = Field(
        description="origin and number of tokens", examples=["uploaded text (10,000 tokens)"]
    )
    random_inputs: bool = Field(
        default=False,
        description="a graph came without inputs: activations were collected, latency was "
        "measured and, unless there was an evaluation command, quality was "
        "evaluated on random inputs",
        examples=[False],
    )
    evaluation: str | None = Field(
        default=None,
        description="the operator's command that evaluated a graph; null: it was evaluated on "
        "the held-out data",
        examples=[
            "evaluation `wer`, a command of the worker's operator (lower is better; run 9 times)"
        ],
    )
    not_evaluated: str | None = Field(
        default=None,
        validation_alias=AliasChoices("not_evaluated", "not_judged"),  # format 2
        description="why no figure of quality comes from data that nothing was fitted to; "
        "null: the figures do",
        examples=["one recorded run was sent, which calibration needs"],
    )
    evaluated_outputs: dict[str, int | None] = Field(
        default={},
        validation_alias=AliasChoices("evaluated_outputs", "judged_by"),  # format 2
        description="for a graph: the outputs that it is evaluated on, each with the "
        "dimension along which one decision or vector extends; null: the metric "
        "treats every number by itself",
        examples=[{"scores": 2}],
    )
    left_out: list[str] = Field(
        default=[],
        description="for a graph: recorded runs that were not used, and why",
        examples=[["run 7, input x: 1 value is NaN, at [0, 0, 0]"]],
    )
    finetune: str | None = Field(
        description="summary of the training; null: none",
        default=None,
        examples=[
            "4.9 minutes of distillation, 1,240 steps: perplexity 99.10 -> 95.20 by the quick "
            "estimate"
        ],
    )
    versions: dict[str, str] = Field(
        description="versions of the libraries that made it", examples=[{"torch": "2.13.0"}]
    )
    machine: str = Field(
        description="the machine on which it was made and timed",
        examples=["AMD EPYC (x86_64), 2 threads"],
    )
    int8_instructions: list[str] | None = Field(
        default=None,
        description="instruction sets of the processor that speed up 8-bit products; null: "
        "not recorded",
        examples=[["avx512_vnni"]],
    )
    seconds: dict[str, float] = Field(
        description="wall time of each stage", examples=[{"search": 12.3}]
    )
