"""The page for support teams: files that reach everything they show over the public API."""

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from api.access import open_to_all
from api.answers import location
from api.late_routes import late_router
from api.page_scripts import as_sent, without_comments
from errors import NotFound

router = late_router(include_in_schema=False)

_FOLDER = Path(__file__).parent.parent / "dashboard"
_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # Texts of strangers are shown: even a mistake in the page must not make one run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        # One policy only, which makes one address only: that of the worker that tabs share.
        "require-trusted-types-for 'script'; trusted-types hub"
    ),
    "X-Frame-Options": "DENY",  # for browsers that know no frame-ancestors
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds what is searched for
    "Cache-Control": "no-cache",  # kept, but asked about each time: all files from one version
}


class _File(NamedTuple):
    content: bytes
    zipped: bytes
    kind: str
    etag: str


@cache
def _files() -> dict[str, _File]:
    """By name. Read once, since it is little: from the disk each would take threads three times."""
    found = {path.name: without_comments(path.read_bytes()) for path in sorted(_FOLDER.iterdir())}
    scripts = {
        name.removesuffix(".js"): content.decode()
        for name, content in found.items()
        if name.endswith(".js")
    }
    found |= {f"{name}.js": script.encode() for name, script in as_sent(scripts).items()}
    return {name: _file(name, content) for name, content in found.items()}


def _file(name: str, content: bytes) -> _File:
    etag = f'W/"{sha256(content).hexdigest()[:32]}"'
    return _File(content, gzip.compress(content, mtime=0), _KINDS[Path(name).suffix], etag)


@router.get("/")
@open_to_all()
async def home(request: Request) -> Response:
    """Relative where the service does not know of the path under which a proxy may serve it."""
    known = request.scope.get("root_path")
    return RedirectResponse(location(request, "/dashboard") if known else "dashboard")


@router.head("/dashboard")
@router.get("/dashboard")
@open_to_all()
async def page(request: Request) -> Response:
    return _answer(request, _files()["index.html"])


@router.head("/dashboard/")
@router.get("/dashboard/")
@open_to_all()
async def page_with_slash(request: Request) -> Response:
    """To the one address to which the page's own are relative."""
    query = request.url.query
    return RedirectResponse(f"../dashboard?{query}" if query else "../dashboard")


@router.head("/dashboard/{name}")
@router.get("/dashboard/{name}")
@open_to_all()
async def file(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise NotFound(f"There is nothing at {request.url.path}.")
    return _answer(request, found)


def _answer(request: Request, wanted: _File) -> Response:
    headers = {**_HEADERS, "ETag": wanted.etag, "Vary": "Accept-Encoding"}
    if wanted.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(wanted.zipped, headers=headers, media_type=wanted.kind)
    return Response(wanted.content, headers=headers, media_type=wanted.kind)
