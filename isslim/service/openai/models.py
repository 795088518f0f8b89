"""Which model and variant a request names, and the list of those that there are."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.service.context import AppContext
from isslim.service.model_reference import ModelReference
from isslim.service.problems import RequestError
from isslim.service.serving.admission import Ticket
from isslim.types.manifest import Manifest
from isslim.types.schemas.completions import Model, ModelList


def named_model(http: Request, in_body: str) -> str:
    """The model that a request names: in its address, or else in its body; empty: none.

    Args:
        http: the request.
        in_body: what its body names.
    """
    in_path: str = http.path_params.get("model", "")
    return in_path or in_body


async def load_tokenizer(
    context: AppContext, http: Request, in_body: str, ticket: Ticket
) -> LoadedLanguageModel:
    """The model whose tokenizer is asked.

    Args:
        context: the service's parts.
        http: the request.
        in_body: the model that its body names, if any.
        ticket: of the request.

    Raises:
        RequestError: (invalid-request) when none is named, and there are several.
    """
    named = named_model(http, in_body) or context.settings.default_model
    if not named:
        named = await run_in_threadpool(_only_model, context)
    reference = ModelReference.parse(named)
    model = await context.models.load(reference.model, LoadedLanguageModel, ticket)
    reference.variant_of(model.manifest, ticket.variant)
    return model


def _only_model(context: AppContext) -> str:
    names = {manifest.name for _, manifest in _language_models(context)}
    if len(names) == 1:
        return names.pop()
    there = f"there are {len(names)}: {', '.join(sorted(names)[:10])}" if names else "there is none"
    raise RequestError(
        "invalid-request",
        f"which language model? {there}. Ask below its own address, /models/<name>/..., name it as "
        "`model`, or set ISS_DEFAULT_MODEL",
        [{"pointer": "/body/model", "detail": "it is needed"}],
    )


def _language_models(context: AppContext) -> list[tuple[str, Manifest]]:
    task = LoadedLanguageModel.task
    return [each for each in context.models.bundles.manifests() if each[1].task == task]


def list_variants(context: AppContext) -> ModelList:
    """All variants of language models; one whose name means another model stands by its id."""
    names = context.models.names.spoken()
    return ModelList(
        data=[
            _model(f"{names.get(bundle_id, bundle_id)}:{each.name}", manifest)
            for bundle_id, manifest in _language_models(context)
            for each in manifest.variants
        ]
    )


def describe_variants(context: AppContext, named: str) -> list[Model]:
    """The variants that a name means: one, or all of a model.

    Args:
        context: the service's parts.
        named: a model, and its variant behind a colon, or none.

    Raises:
        NotFound: when there is no such model.
        UnknownVariant: when it has no such variant.
        RequestError: (wrong-task) when it is no language model.
    """
    reference = ModelReference.parse(named)
    _, manifest = context.models.manifest(reference.model)
    if manifest.task != LoadedLanguageModel.task:
        raise RequestError("wrong-task", f"'{named}' is no language model, but a {manifest.task}")
    if reference.variant:
        reference.variant_of(manifest)
        return [_model(named, manifest)]
    return [_model(f"{reference.model}:{each.name}", manifest) for each in manifest.variants]


def describe(context: AppContext, named: str) -> Model:
    """One model by its name; see `describe_variants`.

    Args:
        context: the service's parts.
        named: a model, and its variant behind a colon, or none.
    """
    (first, *_) = describe_variants(context, named)
    return first.model_copy(update={"id": named})


def _model(model_id: str, manifest: Manifest) -> Model:
    return Model(id=model_id, created=int(manifest.created_at.timestamp()))
