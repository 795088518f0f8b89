"""`/models`: the published bundles, their reports, cards and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from isslim.runtime.registry import why_unserved
from isslim.service.context import Context
from isslim.service.ownership import Asking, deletable, require_model
from isslim.service.parameters import FilePath, ModelName
from isslim.service.problems import answer, describe
from isslim.service.request_id import request_id
from isslim.service.routing import checked_router
from isslim.store.aliases import Author
from isslim.store.bundles import ListedBundle
from isslim.store.folders import report_of
from isslim.types.manifest import FileRecord
from isslim.types.report import Report
from isslim.types.schemas.figures import manifest_view, variant_views
from isslim.types.schemas.models import ModelDetail, ModelSummary
from isslim.types.schemas.problems import ProblemDocument

router = checked_router("/models", tag="models")
BINARY = {"type": "string", "format": "binary"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDocument} for status in (404, 409)
}


class MarkdownResponse(PlainTextResponse):
    """Markdown."""

    media_type = "text/markdown"


class BundleFile(FileResponse):
    """A file, or a part of it by a `Range` header; a problem document for an invalid range."""

    media_type = "application/octet-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        refused = 0

        async def checked(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message["status"]
            if not refused:
                await send(message)

        await super().__call__(scope, receive, checked)
        if refused:
            size = Path(self.path).stat().st_size
            problem = describe(
                416,
                "range",
                "The file has no such part",
                f"the file has {size:,} bytes; ask for some of them, or for all",
            )
            headers = {"content-range": f"bytes */{size}"}
            await answer(scope["path"], problem, headers)(scope, receive, send)


@router.head("", include_in_schema=False)
@router.get("", summary="All models, newest first")
def list_models(context: Context) -> list[ModelSummary]:
    """Names and variants of all published models; damaged ones with their issues."""
    owners = context.owners.of_kind("model")
    return [_summary(each, owners.get(each.id)) for each in context.models.bundles.listed()]


@router.head("/{model}", include_in_schema=False)
@router.get("/{model}", summary="A model's manifest", responses=REFUSALS)
def get_model(model: ModelName, context: Context) -> ModelDetail:
    """By id or name."""
    bundle_id, manifest = context.models.manifest(model)
    owner = context.owners.owner_of("model", bundle_id)
    return ModelDetail(
        id=bundle_id,
        manifest=manifest_view(manifest),
        unserved=why_unserved(manifest),
        owner=owner,
    )


@router.head("/{model}/report", include_in_schema=False)
@router.get(
    "/{model}/report", summary="The trade-off curve, the verdict, samples", responses=REFUSALS
)
def get_report(model: ModelName, context: Context) -> Report:
    """The search's candidates; for question answering also samples of the variants' answers."""
    bundle = context.models.bundles.open(context.models.resolve(model))
    return report_of(bundle)


@router.head("/{model}/card", include_in_schema=False)
@router.get(
    "/{model}/card",
    response_class=MarkdownResponse,
    summary="The model card (Markdown)",
    responses=REFUSALS,
)
def get_card(model: ModelName, context: Context, request: Request) -> MarkdownResponse:
    """The card in Markdown. Its links to pictures lead to `/models/{model}/files`."""
    bundle = context.models.bundles.open(context.models.resolve(model))
    card = bundle.path("README.md").read_text(encoding="utf-8")
    prefix = context.settings.root_path
    for record in bundle.manifest.files:
        # Only the path: behind a proxy the service does not know its own host.
        address = prefix + request.url_for("get_file", model=bundle.id, path=record.path).path
        card = card.replace(f"]({record.path})", f"]({address})")
    return MarkdownResponse(card)


@router.head("/{model}/files", include_in_schema=False)
@router.get("/{model}/files", summary="The files of the bundle", responses=REFUSALS)
def list_files(model: ModelName, context: Context, caller: Asking) -> list[FileRecord]:
    """Every file that can be downloaded, with its size and SHA-256; the manifest first."""
    bundle_id = context.models.resolve(model)
    require_model(context, caller, bundle_id)
    return context.models.bundles.open(bundle_id).files


@router.head("/{model}/files/{path:path}", include_in_schema=False)
@router.get(
    "/{model}/files/{path:path}",
    response_class=BundleFile,
    summary="A file of the bundle",
    responses={
        200: {"content": {"application/octet-stream": {"schema": BINARY}}},
        206: {
            "description": "The part that the header `Range` names",
            "content": {"application/octet-stream": {"schema": BINARY}},
        },
        **REFUSALS,
        416: {"model": ProblemDocument},
    },
)
def get_file(model: ModelName, path: FilePath, context: Context, caller: Asking) -> BundleFile:
    """Any file that `GET /models/{model}/files` lists, or a part of it by the header `Range`.

    It is named after the model and the file: `mine-compressed.onnx`. Where keys are asked for, only
    the pictures of the card are for others than the model's owner.
    """
    bundle_id = context.models.resolve(model)
    if not path.endswith(".svg"):
        require_model(context, caller, bundle_id)
    bundle = context.models.bundles.open(bundle_id)
    name = f"{bundle.manifest.name}-{path.replace('/', '-')}"
    return BundleFile(bundle.path(path), filename=name)


@router.delete(
    "/{model}",
    status_code=204,
    summary="Delete a model",
    responses=REFUSALS,
)
def delete_model(model: ModelName, context: Context, caller: Asking) -> Response:
    """From disk and memory. The request that made it, sent again, makes it anew.

    An alias keeps the model (409), unless it is another key's: then its trials of the model end,
    and if it points at the model, it is answered with 404 until it is pointed elsewhere.
    """
    model_id, strangers = deletable(context, caller, model)
    note = f"the model {model_id} was deleted by its owner, the key '{caller.name}'"
    for alias in strangers:
        author = Author(request_id() or "", note=note)
        context.models.aliases.end_trials_of(model_id, alias, author)
    context.delete(model_id)
    return Response(status_code=204)


def _summary(listed: ListedBundle, owner: str | None) -> ModelSummary:
    manifest = listed.manifest
    return ModelSummary(
        id=listed.id,
        name=listed.id if manifest is None else manifest.name,
        created_at=manifest and manifest.created_at,
        task=manifest and manifest.task,
        metric=manifest and manifest.metric,
        variants=[] if manifest is None else variant_views(manifest),
        random_inputs=manifest is not None and manifest.provenance.random_inputs,
        not_evaluated=manifest and manifest.provenance.not_evaluated,
        proofs=0 if manifest is None else len(manifest.checks),
        issues=listed.issues,
        owner=owner,
    )
