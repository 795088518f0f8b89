"""`/ui/`: the page for people, which uses the public API alone and loads nothing from elsewhere."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from isslim.service.squeezing import squeezed, squeezed_style

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parent.parent / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Asked for again each time, and mostly answered by 304: a new release is seen at once.
    "cache-control": "no-cache",
}
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".safetensors": "application/octet-stream",
}
"""Where the host's table of types may say otherwise, and a browser then refuses a module."""


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: of them.
        etag: derived from them.
    """

    content: bytes
    media_type: str
    etag: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """All files by their path below `/ui/`; what is not among them is not there."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix in _SQUEEZED and path.parent.name != "vendor":
                content = _SQUEEZED[path.suffix](content.decode()).encode()
            kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
            # A weak one: compressed on its way, the bytes are others.
            etag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.relative_to(FOLDER).as_posix()] = PageFile(content, kind, etag)
    return found


_SQUEEZED = {".js": squeezed, ".css": squeezed_style}


@router.get("/ui")
async def to_page() -> RedirectResponse:
    """Its address ends with a slash; a relative one holds below any prefix of a proxy."""
    return RedirectResponse("ui/")


@router.head("/ui/{path:path}")
@router.get("/ui/{path:path}")
async def get_page(path: str, request: Request) -> Response:
    """A file of the page; its views are behind `#`, which no server sees."""
    file = page_files().get(path or "index.html")
    if file is None:
        raise HTTPException(404, "The page has no such file")
    headers = {**HEADERS, "etag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
