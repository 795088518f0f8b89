"""`/` and `/docs`: what this service is, and its documentation, which loads nothing from elsewhere.

Swagger UI's files are those of the package `fastapi-offline`; nothing of its code is used.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from isslim import __version__
from isslim.service.context import context_of
from isslim.types.schemas.models import About

router = APIRouter(tags=["about"])
OWN = Path(__file__).parent.parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>isslim: the HTTP interface</title>
<link rel="stylesheet" href="static/swagger-ui.css">
<link rel="icon" href="static/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static/swagger-ui-bundle.js"></script>
<script src="static/docs.js"></script>
</body>
</html>
"""
StaticFile = Literal["docs.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]
_BROWSER: dict[int | str, dict[str, Any]] = {307: {"description": "A browser is sent to `/ui/`"}}


@router.get("/", response_model=About, summary="What this service is", responses=_BROWSER)
async def get_about(request: Request, response: Response) -> About | Response:
    """Name, version and where to go on; a browser is sent to the page, or to the documentation."""
    has_page = context_of(request).settings.ui
    response.headers["vary"] = "Accept"
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("ui/" if has_page else "docs", headers={"vary": "Accept"})
    return About(
        name="isslim",
        version=__version__,
        page="/ui/" if has_page else None,
        docs="/docs",
        openapi="/openapi.json",
        models="/models",
    )


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The page; its addresses are relative, so that it works below any prefix of a proxy."""
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})


@router.get("/static/{name}", include_in_schema=False)
async def static(name: StaticFile) -> FileResponse:
    """A file of the page."""
    folder = OWN if (OWN / name).exists() else _swagger_ui()
    return FileResponse(folder / name, headers={"cache-control": "max-age=3600"})


def _swagger_ui() -> Path:
    """The folder of Swagger UI's files; the package is found, and not imported."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise RuntimeError("fastapi-offline is not installed: pip install 'isslim[service]'")
    return Path(found.origin).parent / "static"
