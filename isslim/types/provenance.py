"""Where a bundle comes from: its upload, its data, what judged it, the machine that made it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from isslim.types.recipe import StrictModel

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["ba7816bf" * 8])]


class Provenance(StrictModel):
    """Where the bundle comes from."""

    upload_sha256: Sha256 = Field(description="of the uploaded model")
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
        description="a graph came without inputs: everything was observed and timed on random "
        "ones, and "
        "judged on them unless "
        "there was an evaluation",
        examples=[False],
    )
    evaluation: str | None = Field(
        default=None,
        description="the operator's command that judged a graph; null: it was judged on the "
        "held-out data",
        examples=[
            "evaluation `wer`, a command of the worker's operator (lower is better; run 9 times)"
        ],
    )
    not_judged: str | None = Field(
        default=None,
        description="why no figure of quality stands on data that nothing was fitted to; null: "
        "it does",
        examples=["one recorded run was sent, and it was observed"],
    )
    judged_by: dict[str, int | None] = Field(
        default={},
        description="of a graph: the outputs that it is judged by, each with the dimension along "
        "which "
        "the entries of one "
        "decision or vector lie; null: the metric looks at every number by itself",
        examples=[{"scores": 2}],
    )
    left_out: list[str] = Field(
        default=[],
        description="of a graph: recorded runs that were not used, and why",
        examples=[["run 7, input x: 1 value is NaN, at [0, 0, 0]"]],
    )
    finetune: str | None = Field(
        description="what training did; null: none",
        default=None,
        examples=["10 minutes of distillation: perplexity 99.1 -> 95.2"],
    )
    versions: dict[str, str] = Field(
        description="of the libraries that made it", examples=[{"torch": "2.13.0"}]
    )
    machine: str = Field(
        description="on which it was made and timed", examples=["AMD EPYC (x86_64), 2 threads"]
    )
    int8_instructions: list[str] | None = Field(
        default=None,
        description="of the processor's instruction sets, those that multiply 8-bit numbers "
        "fast; null: "
        "not recorded",
        examples=[["avx512_vnni"]],
    )
    seconds: dict[str, float] = Field(
        description="wall time of each stage", examples=[{"search": 12.3}]
    )
