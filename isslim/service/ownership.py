"""What a caller may see, change and add: jobs and the like are for their owner alone.

Where no keys are asked for, everything is everybody's. What is another's is answered as what does
not exist, but for models and aliases, which everybody sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from isslim.service.access.caller import Caller, caller_of
from isslim.service.context import AppContext
from isslim.service.problems import RequestError
from isslim.store.aliases import MAX_TRIES
from isslim.store.errors import BeingChanged, InUse, NotFound
from isslim.store.owners import NOBODY
from isslim.store.queue import job_id_of
from isslim.store.quotas import Kind, Quota, Work
from isslim.types.jobs import CompressionRequest, Job, Sweep


async def _caller(request: Request) -> Caller:
    return caller_of(request)


Asking = Annotated[Caller, Depends(_caller)]
"""Who asks."""


def require_owner(context: AppContext, caller: Caller, kind: Kind, name: str) -> None:
    """Refuses what a caller may not see.

    Args:
        context: the service's parts.
        caller: who asks.
        kind: of what is asked for.
        name: its id.

    Raises:
        NotFound: when it is another's.
    """
    if not caller.rules and not caller.owns(context.owners.owner_of(kind, name)):
        raise NotFound(kind, name)


def job_of(context: AppContext, caller: Caller, job_id: str) -> Job:
    """A job that a caller may see, with its owner.

    Args:
        context: the service's parts.
        caller: who asks.
        job_id: which one.

    Raises:
        NotFound: when there is none, or it is another's.
    """
    owner = context.owners.owner_of("job", job_id)
    if not caller.owns(owner):
        raise NotFound("job", job_id)
    return context.queue.get(job_id).model_copy(update={"owner": owner})


def sweep_of(context: AppContext, caller: Caller, sweep: Sweep) -> Sweep:
    """A sweep as a caller sees it, with the owners of its jobs.

    Args:
        context: the service's parts.
        caller: who owns it.
        sweep: as it is stored.
    """
    owners = context.owners.of_kind("job", [job.id for job in sweep.jobs])
    jobs = [
        job.model_copy(update={"owner": owners.get(job.id)})
        for job in sweep.jobs
        if caller.owns(owners.get(job.id))
    ]
    return sweep.model_copy(update={"jobs": jobs})


def require_model(context: AppContext, caller: Caller, model_id: str) -> None:
    """Refuses to change a model, or to hand out its files, for others than its owner.

    Args:
        context: the service's parts.
        caller: who asks.
        model_id: of the model.

    Raises:
        RequestError: (not-owner) when it is another's.
    """
    if not caller.rules:
        _require(caller, context.owners.owner_of("model", model_id), f"the model {model_id}")


def deletable(context: AppContext, caller: Caller, model: str) -> tuple[str, list[str]]:
    """A model that a caller may delete.

    What keeps it are aliases of the caller's own, and those of administrators and of nobody, which
    are the service's. Any other key's would let strangers decide over it. The alias by which it is
    asked for keeps it as well, since the caller may mean a model of that name.

    Args:
        context: the service's parts.
        caller: who asks to delete it.
        model: its id, alias or name.

    Returns:
        Its id, and the other keys' aliases that need it.

    Raises:
        NotFound: when there is no such model.
        RequestError: (not-owner) when it is another's.
        InUse: when an alias keeps it.
    """
    model_id = context.models.resolve(model)
    require_model(context, caller, model_id)
    naming = context.models.aliases.naming(model_id)
    owners = context.owners.of_kind("alias", naming)
    if mine := [each for each in naming if caller.owns(owners.get(each))]:
        raise InUse(model_id, mine)
    lasting = {None, *context.access.administrators()}
    if kept := [each for each in naming if owners.get(each) in lasting]:
        raise InUse(model_id, kept, "it is an administrator's: ask one to point it elsewhere")
    if model in naming:
        raise InUse(
            model_id,
            [model],
            f"it is the key '{owners[model]}'s, and does not keep the model from being deleted "
            f"under its id: DELETE /models/{model_id}",
        )
    return model_id, naming


def require_alias(context: AppContext, caller: Caller, alias: str) -> None:
    """Refuses to change an alias for others than its owner.

    Args:
        context: the service's parts.
        caller: who asks.
        alias: its name; one that does not exist is nobody's, and may be made.

    Raises:
        RequestError: (not-owner) when it is another's.
    """
    if not caller.rules and context.models.names.alias(alias) is not None:
        _require(caller, context.owners.owner_of("alias", alias), f"the alias '{alias}'")


def require_name(context: AppContext, caller: Caller, alias: str) -> None:
    """Refuses a new alias that would take the requests for another key's model of its name.

    Args:
        context: the service's parts.
        caller: who asks.
        alias: its name.

    Raises:
        RequestError: (not-owner) when there is such a model.
    """
    if caller.rules or context.models.names.alias(alias) is not None:
        return
    try:
        meaning = context.models.meaning(alias)
    except NotFound:
        return
    if isinstance(meaning, str):
        what = (
            f"'{alias}' is the name of the model {meaning}, whose requests the alias would take; it"
        )
        _require(caller, context.owners.owner_of("model", meaning), what)


def _require(caller: Caller, owner: str | None, what: str) -> None:
    if not caller.owns(owner):
        whose = "of nobody" if owner is None else f"of the key '{owner}'"
        raise RequestError(
            "not-owner", f"{what} is {whose}: only its owner and administrators may do this"
        )


def admit_jobs(
    context: AppContext, caller: Caller, requests: Sequence[CompressionRequest]
) -> str | None:
    """Makes the jobs of requests the caller's, before they are queued.

    Args:
        context: the service's parts.
        caller: who asks.
        requests: one for each job.

    Returns:
        Their owner; None: nobody, as no keys are asked for.

    Raises:
        QuotaExceeded: when these are too many.
        RequestError: (not-owner) when one would move another's alias.
    """
    if caller.name is None:
        return None
    for request in requests:
        if request.recipe.promote is not None:
            require_alias(context, caller, request.recipe.promote)
            require_name(context, caller, request.recipe.promote)
    _admit(context, caller, "job", requests)
    for request in requests:
        if request.recipe.promote is not None:
            whose = context.owners.owner_of("alias", request.recipe.promote) or NOBODY
            context.owners.allow_promotion(job_id_of(request, caller.name), whose)
    return caller.name


def admit_inspection(
    context: AppContext, caller: Caller, request: CompressionRequest
) -> str | None:
    """The same for an inspection, which counts as no job, and is limited by itself.

    Args:
        context: the service's parts.
        caller: who asks.
        request: what is inspected.

    Raises:
        QuotaExceeded: when it is too many.
    """
    if caller.name is not None:
        _admit(context, caller, "inspection", [request])
    return caller.name


def admit_alias(context: AppContext, caller: Caller, alias: str) -> None:
    """Makes a new alias the caller's, before it is pointed at anything; refuses another's.

    Args:
        context: the service's parts.
        caller: who asks.
        alias: its name.

    Raises:
        QuotaExceeded: when it is one too many.
        BeingChanged: when others delete it each time.
        RequestError: (not-owner) when it is another's, or would take requests from another's model.
    """
    if caller.name is None:
        return
    for _ in range(MAX_TRIES):
        if context.models.names.alias(alias) is None:
            require_name(context, caller, alias)
            work = Work("alias", frozenset([alias]))
            context.owners.admit(caller.name, work, _quota(context, caller))
        # In any case, and last: another key may have made it a moment ago.
        owner = context.owners.owner_of("alias", alias)
        if owner is not None or context.models.names.alias(alias) is not None:
            _require(caller, owner, f"the alias '{alias}'")
            return
        # It was deleted in between.
    raise BeingChanged(alias)


def keep_alias(context: AppContext, caller: Caller, alias: str) -> None:
    """Leaves an alias with an owner that was deleted, and so made anew, as its owner moved it.

    Args:
        context: the service's parts.
        caller: who has moved it.
        alias: its name.
    """
    if caller.name is not None and not caller.rules:
        context.owners.claim("alias", alias, caller.name)


def _quota(context: AppContext, caller: Caller) -> Quota:
    settings, own = context.settings, caller.limits
    return Quota(
        settings.quota_upload_bytes if own.upload_bytes is None else own.upload_bytes,
        settings.quota_jobs if own.jobs is None else own.jobs,
        settings.quota_models if own.models is None else own.models,
        settings.quota_inspections if own.inspections is None else own.inspections,
        settings.quota_aliases if own.aliases is None else own.aliases,
    )


def _admit(
    context: AppContext, caller: Caller, kind: Kind, requests: Sequence[CompressionRequest]
) -> None:
    work = Work(
        kind,
        frozenset(job_id_of(request, caller.name) for request in requests),
        {each.sha256: each.size_bytes for request in requests for each in request.uploads},
        {
            job_id_of(request, caller.name): request.recipe.promote
            for request in requests
            if request.recipe.promote is not None
        },
    )
    context.owners.admit(caller.name or "", work, _quota(context, caller))
