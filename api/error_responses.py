"""The one shape of an error over HTTP, and the one table from our errors to status numbers."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from errors import InvalidInput, NotFound, ServiceError, TooLarge
from schemas import explain

STATUS = {
    "invalid_schema": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "conflict": 409,
    "payload_too_large": 413,
    "expectation_failed": 417,
    "rate_limit_exceeded": 429,
    "headers_too_large": 431,
    "internal_error": 500,
    "not_implemented": 501,
    "unavailable": 503,
}


ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorOut"}}}


class MethodNotAllowed(ServiceError):
    code = "method_not_allowed"


class ExpectationFailed(ServiceError):
    code = "expectation_failed"


class NotImplementedHere(ServiceError):
    code = "not_implemented"


def error_response(error: ServiceError, headers: dict[str, str] | None = None) -> Response:
    body: dict[str, Any] = {"error": error.code, "details": error.details}
    headers = dict(headers or {})
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
        headers["Retry-After"] = str(error.retry_after)
    if error.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, STATUS[error.code], headers)


def answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """An operation's error answers, for the OpenAPI document, which `api/openapi.py` gives their
    shape. Named as a model, FastAPI would build its validators for each of them anew."""
    return {
        STATUS[code]: {"description": code, "content": ERROR_CONTENT}
        for code in (*codes, "internal_error")
    }


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if isinstance(error, NotFound):
        of_path = _with_head(_routes_of(request, own=True))
        if of_path and request.method not in of_path:  # its last part was taken for an id
            return _wrong_method(request, of_path)
    return error_response(error)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{**one, "loc": one["loc"][1:]} for one in error.errors()]  # drops "query"
    return error_response(InvalidInput(explain(errors)))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own errors: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    known: dict[int, ServiceError] = {
        404: NotFound(f"There is nothing at {path}."),
        413: TooLarge(str(error.detail)),
    }
    if error.status_code == 405:
        routes = _routes_of(request, own=True) or _routes_of(request, own=False)
        return _wrong_method(request, _with_head(routes))
    translated = known.get(error.status_code) or InvalidInput(str(error.detail))
    return error_response(translated, dict(error.headers or {}))


def _wrong_method(request: Request, allowed: set[str]) -> Response:
    error = MethodNotAllowed(f"{request.url.path} does not take {request.method}.")
    return error_response(error, {"Allow": ", ".join(sorted(allowed))})


def _routes_of(request: Request, *, own: bool) -> list[Route]:
    """All that match the path, whatever the method: Starlette names the first one. With `own` those
    of which it is the whole path, as `.../conversations/batch`: its last part is no id."""
    return [
        route
        for route in request.app.router.routes
        if isinstance(route, Route)
        and route.matches(request.scope)[0] is not Match.NONE
        and not (own and route.param_convertors)
    ]


def _with_head(routes: Sequence[Route]) -> set[str]:
    """Their methods. Where there is GET, there is HEAD."""
    methods = {method for route in routes for method in route.methods or ()}
    return methods | {"HEAD"} if "GET" in methods else methods
