"""The OpenAPI document: what each operation really answers."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from api.access import Access, access_of
from api.answers import ErrorOut
from api.bodies import DOCUMENTED
from api.error_responses import ERROR_CONTENT, STATUS

_HEADERS = {
    "RequestId": ("X-Request-ID", "Under which the log has the answer.", "string"),
    "RetryAfter": ("Retry-After", "After so many seconds it may be tried again.", "integer"),
    "Authenticate": ("WWW-Authenticate", "How a key is sent.", "string"),
}
"""What errors have in their headers, by the names of the document's components."""
_HEADERS_OF = {
    "401": ("Authenticate",),
    "429": ("RetryAfter",),
    "500": ("RequestId",),
    "503": ("RetryAfter",),
}

_WAYS_TO_SEND_A_KEY = {
    "api_key": {"type": "http", "scheme": "bearer"},
    "api_key_header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def describe(app: FastAPI, max_text_length: int, *, limited: bool, with_keys: bool) -> None:
    """Make `app.openapi()` name each operation after its handler, and describe the bodies that
    handlers read themselves and the answers of the middleware. 422 is never answered: it goes."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            routes = [route for route in app.routes if isinstance(route, Route)]
            app.openapi_schema = _correct(
                build(), max_text_length, routes, limited=limited, with_keys=with_keys
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _correct(
    document: dict[str, Any],
    max_text_length: int,
    routes: Sequence[Route],
    *,
    limited: bool,
    with_keys: bool,
) -> dict[str, Any]:
    components = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    _, definitions = models_json_schema(
        [*((body, "validation") for body in DOCUMENTED), (ErrorOut, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    for name in ("ConversationIn", "BatchItemIn"):
        definitions["$defs"][name]["properties"]["text"]["maxLength"] = max_text_length
    components |= definitions["$defs"]

    told: set[str] = set()
    route_of = {
        (route.path, method.lower()): route for route in routes for method in route.methods or ()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = route_of[path, method]
            operation["operationId"] = route.name  # generated clients take it for their function
            responses = operation["responses"]
            responses.pop("422", None)
            codes = _given_outside(access_of(route), limited=limited, with_keys=with_keys)
            codes += ["forbidden"] if method != "get" and not with_keys else []
            for code in codes:
                responses[str(STATUS[code])] = {"description": code, "content": ERROR_CONTENT}
            operation["responses"] = dict(sorted(responses.items()))
            _give_headers(operation["responses"], told)
            if with_keys and access_of(route).open:
                operation["security"] = []
    document["components"]["headers"] = {
        component: {"description": description, "schema": {"type": kind}}
        for component, (_, description, kind) in _HEADERS.items()
        if component in told
    }
    if with_keys:
        document["components"]["securitySchemes"] = _WAYS_TO_SEND_A_KEY
        document["security"] = [{name: []} for name in _WAYS_TO_SEND_A_KEY]  # either will do
    return document


def _give_headers(responses: dict[str, Any], told: set[str]) -> None:
    """Name the headers of the errors among an operation's answers; which, goes to `told`."""
    for status, response in responses.items():
        if response.get("content") != ERROR_CONTENT:
            continue
        for component in _HEADERS_OF.get(status, ()):
            name, _, _ = _HEADERS[component]
            headers = response.setdefault("headers", {})
            headers[name] = {"$ref": f"#/components/headers/{component}"}
            told.add(component)


def _given_outside(access: Access, *, limited: bool, with_keys: bool) -> list[str]:
    """Codes of the errors that are answered before a request reaches its handler: any may come too
    slowly, and be too large."""
    codes = ["timeout", "payload_too_large", "headers_too_large"]
    if not access.any_host and not with_keys:
        codes.append("invalid_schema")  # of a host that is not served
    if access.open:
        return codes
    if with_keys:
        codes.append("unauthorized")
        codes += ["forbidden"] if access.limited else []
    if limited and (access.limited or with_keys):
        codes.append("rate_limit_exceeded")
    return codes
