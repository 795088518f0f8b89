"""One run of a model's graph on a caller's tensors, whatever protocol they came by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isslim.runtime.bundle import LoadedModel
from isslim.runtime.contract import TOKENS
from isslim.runtime.graphs.model import LoadedGraph
from isslim.runtime.graphs.recorded_inputs import NamedArrays
from isslim.runtime.graphs.subprocess_session import SubprocessGraphSession
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.tensors import LanguageTensors
from isslim.service.array_trials import repeatable_run
from isslim.service.context import AppContext
from isslim.service.model_reference import ModelReference
from isslim.service.serving.admission import Ticket
from isslim.service.serving.batching import Job, Run, alone
from isslim.service.serving.compare_variants import Timed
from isslim.service.serving.runners import GraphRunner
from isslim.types.manifest import VariantName

SETTING = "ISS_RUN_SECONDS"
TensorGraph = LanguageTensors | SubprocessGraphSession


@dataclass(frozen=True)
class OpenGraph:
    """A variant that is ready to run.

    Attributes:
        model: whose variant it is.
        variant: its name.
        graph: takes and returns tensors.
    """

    model: LoadedModel[Any]
    variant: VariantName
    graph: TensorGraph


async def open_graph(
    context: AppContext, reference: ModelReference, ticket: Ticket, device: str = "cpu"
) -> OpenGraph:
    """A variant, loaded if necessary.

    A language model is run in this process, which knows what its graph can bear, and where a step
    takes less time than its way to another process. All others run in their own.

    Args:
        context: of the app.
        reference: which model and variant.
        ticket: of the request.
        device: where it is to run.

    Raises:
        NotFound: when there is no such model.
        UnknownVariant: when it has no such variant.
        DeviceUnavailable: when the device is not there.
    """
    models = context.models
    return await models.followed(ticket, lambda: _opened(context, reference, ticket, device))


async def _opened(
    context: AppContext, reference: ModelReference, ticket: Ticket, device: str
) -> OpenGraph:
    models = context.models
    model = await models.load(reference.model, LoadedModel, ticket)  # type: ignore[type-abstract]
    variant = reference.variant_of(model.manifest, ticket.variant)
    if isinstance(model, LoadedLanguageModel):
        sessions = await models.open(model, [variant], device, ticket)
        most = context.settings.tensor_run_bytes
        tensors = LanguageTensors(sessions[variant], model.manifest, most)
        return OpenGraph(model, variant, tensors)
    processes = await models.open_processes(model, [variant], device, ticket)
    return OpenGraph(model, variant, processes[variant])


@dataclass(frozen=True)
class FoundTensors:
    """The outputs of a run.

    Attributes:
        variant: that ran.
        outputs: by name, in the order of the request.
        milliseconds: by stage.
    """

    variant: VariantName
    outputs: NamedArrays
    milliseconds: dict[str, float]


async def run_graph(
    context: AppContext,
    opened: OpenGraph,
    decode: Callable[[], Any],
    wanted: Sequence[str],
    ticket: Ticket,
) -> FoundTensors:
    """Runs a variant once.

    Args:
        context: of the app.
        opened: the variant.
        decode: reads the inputs by name; called in another thread.
        wanted: names of the outputs; none for all.
        ticket: of the request.

    Raises:
        InputsRefused: when the graph cannot be run on them, or has no such output.
        TokenOutOfRange: when a token is not of the vocabulary.
        RunStopped: when the run was ended.
    """
    graph = opened.graph

    def encode() -> tuple[NamedArrays, list[str]]:
        names = graph.named(wanted)
        return graph.checked(decode()), names

    encoded, (done,) = await context.variants.run(
        {opened.variant: graph}, encode, _run, ticket, opened.model
    )
    if isinstance(opened.model, LoadedGraph):
        ticket.repeatable = repeatable_run(*encoded, ticket.device)
    if isinstance(graph, LanguageTensors):
        tokens = int(encoded[0][TOKENS].size)
        context.metrics.note_tokens(ticket.name, opened.variant, tokens, "scored")
    stages = {"queue": ticket.queue_ms, "run": done.run_ms}
    return FoundTensors(opened.variant, done.result, stages)


def _run(graph: TensorGraph, encoded: tuple[NamedArrays, list[str]]) -> Job[Timed[NamedArrays]]:
    if isinstance(graph, SubprocessGraphSession):
        (done,) = yield [Run(GraphRunner(graph), encoded, 1.0)]
    else:
        tokens = float(encoded[0][TOKENS].size)
        done = yield from alone(lambda control: graph.bound(control).run(*encoded), tokens)
    return Timed(*done.output)
