"""Bodies of `/qa`: the field names of Hugging Face's question-answering pipeline, per variant."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isslim.types.manifest import VariantName
from isslim.types.schemas.common import (
    DEVICE,
    VARIANTS,
    PlainText,
    SomeText,
    Variants,
    at_most,
)

QUESTIONS = "questions"
"""The key of the limit on questions in a validation's context."""
MAX_ANSWER_TOKENS = 30
"""Default for the most words and punctuation marks in one answer."""
_CONTEXT = "The cat sat on the mat. It purred."


class QuestionInput(BaseModel):
    """One question to one context."""

    model_config = ConfigDict(extra="forbid")

    question: SomeText = Field(description="any text", examples=["Who sat?"])
    context: SomeText = Field(
        description="the text that holds the answer, of any length", examples=[_CONTEXT]
    )


class QuestionRequest(BaseModel):
    """A question and its context, or several such pairs, and the variants to answer with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "reader",
                "question": "Who sat?",
                "context": _CONTEXT,
                "variants": ["original", "compressed-int8"],
                "top_k": 3,
            }
        },
    )

    model: PlainText = Field(
        max_length=128,
        description="id, alias or name of a model",
        examples=["reader"],
    )
    question: SomeText | None = Field(
        default=None, description="with `context`, in place of `inputs`", examples=["Who sat?"]
    )
    context: SomeText | None = Field(
        default=None, description="the text that holds the answer", examples=[_CONTEXT]
    )
    inputs: (
        Annotated[list[QuestionInput], Field(min_length=1), at_most(QUESTIONS, "questions")] | None
    ) = Field(
        default=None,
        description="several pairs; each is answered as if it were sent alone",
        examples=[[{"question": "Who sat?", "context": _CONTEXT}]],
    )
    variants: Variants = Field(
        default=[],
        examples=[["original", "compressed-int8"]],
        description=VARIANTS,
    )
    top_k: int = Field(
        default=1, ge=1, le=50, description="how many answers to each question", examples=[3]
    )
    max_answer_tokens: int = Field(
        default=MAX_ANSWER_TOKENS,
        ge=1,
        le=1000,
        description="most words and punctuation marks in one answer",
        examples=[30],
    )
    device: PlainText = Field(default="cpu", max_length=32, description=DEVICE, examples=["cpu"])

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        """Refuses a body without a question, and one with two forms of it."""
        single = (self.question is not None) + (self.context is not None)
        if single != (0 if self.inputs is not None else 2):
            raise ValueError("send either `question` and `context`, or `inputs`")
        return self

    def pairs(self) -> list[QuestionInput]:
        """The questions in either form."""
        if self.inputs is not None:
            return self.inputs
        return [QuestionInput(question=self.question or "", context=self.context or "")]


class AnswerSpan(BaseModel):
    """A span of the context."""

    answer: str = Field(description="`context[start:end]`", examples=["The cat"])
    score: float = Field(
        description="probability of its first times that of its last token, over the whole context",
        examples=[0.83],
    )
    start: int = Field(
        description="its first character's position in the context, in code points", examples=[0]
    )
    end: int = Field(description="the position behind its last character", examples=[7])


class QuestionAnswer(AnswerSpan):
    """The best answer to one question, and the next best."""

    top_k: list[AnswerSpan] = Field(
        description="the best `top_k`, this answer first; fewer when the context has fewer spans"
    )
    windows: int = Field(
        description="runs needed for the context: a long one is read in windows", examples=[1]
    )


class StageTimes(BaseModel):
    """Milliseconds of each stage.

    `serialize` is in the Server-Timing header, since it comes after the body.
    """

    queue_ms: float = Field(description="waiting for its turns", examples=[0.02])
    tokenize_ms: float = Field(
        description="from texts to word vectors and characters", examples=[0.4]
    )
    run_ms: float = Field(description="running ONNX Runtime", examples=[9.1])
    search_ms: float = Field(description="finding the best spans", examples=[0.3])


class VariantAnswers(BaseModel):
    """One variant's answers to all questions."""

    variant: VariantName = Field(description="name of the variant", examples=["compressed-int8"])
    answers: list[QuestionAnswer] = Field(description="in the order of the request")
    speedup: float | None = Field(
        default=None,
        description="run time of the first variant requested / of this one, in this request alone",
        examples=[2.9],
    )
    timing: StageTimes = Field(description="times of this request, all questions together")


class QuestionResponse(BaseModel):
    """The answers, in the order of the variants requested."""

    model_id: str = Field(description="the bundle's id", examples=["5f0c1d2e3a4b5c6d"])
    model: str = Field(description="the model's name", examples=["reader"])
    device: str = Field(description="the device on which it ran", examples=["cpu"])
    variants: list[VariantAnswers] = Field(description="in the order requested")
