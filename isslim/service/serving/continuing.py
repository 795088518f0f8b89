"""Opens a language model for a request, which may go on with a text that one has read so far."""

from __future__ import annotations

from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.session import LanguageSession
from isslim.service.serving.admission import Ticket
from isslim.service.serving.registry import ModelRegistry
from isslim.service.serving.signed_states import KeptTexts
from isslim.types.manifest import VariantName
from isslim.types.schemas.generation import GenerateRequest
from isslim.types.schemas.scores import ScoreRequest

Opened = tuple[LoadedLanguageModel, dict[VariantName, LanguageSession]]


async def open_to_go_on(
    models: ModelRegistry,
    request: ScoreRequest | GenerateRequest,
    before: KeptTexts,
    ticket: Ticket,
) -> Opened:
    """The model that a request names, and its variants that are to answer.

    Args:
        models: the registry.
        request: names them.
        before: what its state holds.
        ticket: of the request.

    Raises:
        NotFound: when there is no such model.
        RequestError: (state-mismatch) when the state is of another model, or lacks a variant.
        UnknownVariant: when the model has no such variant.
        DeviceUnavailable: when the device is not there.
    """

    async def opened() -> Opened:
        model = await models.load(request.model, LoadedLanguageModel, ticket, before.model)
        variants = before.variants(model.id, request.variants)
        return model, await models.open(model, variants, request.device, ticket)

    return await models.followed(ticket, opened)
