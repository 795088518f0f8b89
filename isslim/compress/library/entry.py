"""The function `isslim.compress`: its signature and documentation.

Torch is imported when it is called. What it does is in `isslim.compress.library.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from isslim.compress.library.compressed import Compressed
    from isslim.compress.progress import Progress
    from isslim.types.recipe import Budget, Recipe

    File = str | PathLike[str]
    Model = nn.Module | ModelProto | Mapping[str, Any] | File
    Data = str | PathLike[str] | Mapping[str, Any] | Iterable[Any]
    Report = Callable[[str, float, str], None] | Progress


def compress(  # noqa: PLR0913 - one function for every kind of model: all of its options by name
    model: Model,
    data: Data | None = None,
    *,
    held_out: Data | None = None,
    train: Data | None = None,
    vocabulary: Sequence[str] | File | None = None,
    config: Mapping[str, Any] | File | None = None,
    vectors: File | None = None,
    characters: Sequence[str] | File | None = None,
    budget: Budget | float | Mapping[str, Any] | None = None,
    metric: str | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    latency: Literal["primary", "all"] = "primary",
    progress: Report | None = None,
    folder: File | None = None,
    **options: Any,
) -> Compressed:
    """Removes what a recurrent network does without, verifies the rest, and returns both.

    It is also distilled from the original, for at most five minutes unless `minutes` says otherwise
    (0: not at all). Narrow layers may be inserted into its small form where that is free
    (`form="free"`), which `ranks=False` and `narrow_softmax=False` prevent.
    It works in this process and changes nothing outside of itself: neither the model, nor settings,
    random states or warning filters, and it prints nothing.

    Args:
        model: a `torch.nn.Module` in evaluation mode on the CPU; a file or folder that could be
            uploaded (checkpoint of weights, safetensors, ONNX; a saved bundle); an
            `onnx.ModelProto`; or a state dict, a mapping of arrays by name. A module or state dict
            is compressed as a language model where there is a `vocabulary` or its data is a text.
        data: what activations are collected on. For a module a list of calls - each the only
            argument, a tuple of arguments, or a mapping of them by name, of tensors or arrays; for
            a graph the same, or a `Path` of an npz; a mapping may also hold targets of an output
            (`target:<output>`), for metrics on them; for a language model a text (`str`), a `Path`
            of one, or its ids as integers; for question answering a mapping in SQuAD's form or a
            `Path`. None: a graph gets random inputs, a language model generates a text; a module
            needs calls.
        held_out: what quality is evaluated on, in the same forms; None: a part of the data.
        train: what `mode="learn"` and distillation train on, of language models and readers;
            None: `data`, or what a language model writes.
        vocabulary: tokens by id, or the path of a file that lists them.
        config: JSON beside the weights, as a mapping or a path.
        vectors: word vectors (npy) of a question-answering model.
        characters: characters of a question-answering model.
        budget: the limit to keep to. A number limits the loss of quality in the metric of the
            model's kind; `{"limit": "size", "value": 0.4}` limits the size. None: the default of
            the kind.
        metric: for graphs and modules: how outputs are compared; see `Recipe.metric`.
        recipe: options as a `Recipe` or a mapping; those given by name have precedence.
        latency: which shapes variants are timed at: the primary one, or all as in a job.
        progress: called with the stage, the share done (0 to 1) and a message.
        folder: for intermediate files. They are kept, and a call that was interrupted resumes from
            them; one call at a time. None: a temporary folder.
        **options: fields of `isslim.Recipe` by name; `help(isslim.Recipe)` and docs/library.md
            describe all. Of every kind: `name`, `form` ("same", "free"), `shapes`, `seed`,
            `license`, `base_model`, `minutes`. Of graphs and modules: `outputs`, `decision_axis`,
            `threshold`, `blank`, `stream`, `vary_inputs`. Of language models and readers: `mode`,
            `learner`, `start`, `learn_epochs`, `ranks` and others; of language models `optimize`,
            `narrow_softmax` and others.
            What has no effect on the kind of model is refused. Whether an uncertain loss counts is
            a field of the budget: `{"loss": 0.02, "confident": True}`.

    Returns:
        The compressed model; see `isslim.Compressed`.

    Raises:
        BudgetNotMet: when no smaller model keeps to the budget; it carries the trade-off curve.
        CompressError: when something given is not understood or cannot be compressed.
    """
    from isslim.compress.library.inputs import Given
    from isslim.compress.library.options import asked_for
    from isslim.compress.library.run import run
    from isslim.compress.library.words import in_full

    given = Given(
        model, data, held_out, train, vocabulary, config, vectors=vectors, characters=characters
    )
    with in_full():
        asked = asked_for(recipe, budget, {**options, "metric": metric})
        return run(given, asked, latency, progress, folder)
