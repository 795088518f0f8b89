"""`/kinds`: the kinds of models that can be compressed and served here."""

from __future__ import annotations

from isslim.service.routing import checked_router
from isslim.types.kinds.registry import kinds
from isslim.types.schemas.kinds import KindView, kind_view

router = checked_router("/kinds", tag="models")


@router.get("", summary="All kinds of models")
async def list_kinds() -> list[KindView]:
    """Those of the product first, then those of plug-ins, with metrics and default budgets."""
    return [kind_view(each) for each in kinds()]
