"""The page for support teams: files that reach everything they show over the public API."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_HEADERS = {
    # Texts of strangers are shown: even a mistake in the page must not make one run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds what is searched for
    "Cache-Control": "no-cache",  # kept, but asked about each time: all files from one version
}
_files = StaticFiles(directory=Path(__file__).parent.parent / "dashboard")


@router.get("/")
async def home() -> Response:
    return RedirectResponse("/dashboard")


@router.head("/dashboard")
@router.get("/dashboard")
async def page(request: Request) -> Response:
    return await file(request, "index.html")


@router.head("/dashboard/{name}")
@router.get("/dashboard/{name}")
async def file(request: Request, name: str) -> Response:
    """Raises Starlette's 404; a 304 where the caller has it already."""
    response = await _files.get_response(name, request.scope)
    response.headers.update(_HEADERS)
    return response
