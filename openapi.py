"""The OpenAPI document: what each operation really answers."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from http_errors import STATUS
from schemas import Bodies


def describe(app: FastAPI, bodies: Bodies, *, limited: bool, with_keys: bool) -> None:
    """Make `app.openapi()` tell of the bodies that handlers read themselves, of the answers that
    middleware gives, and of no 422, which is never answered."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _correct(build(), bodies, limited=limited, with_keys=with_keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _correct(
    document: dict[str, Any], bodies: Bodies, *, limited: bool, with_keys: bool
) -> dict[str, Any]:
    components = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    _, definitions = models_json_schema(
        [(bodies.conversation, "validation"), (bodies.batch, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    components |= definitions["$defs"]

    everywhere = [*(["rate_limit_exceeded"] if limited else [])]
    everywhere += ["unauthorized", "forbidden"] if with_keys else []
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorOut"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if path.startswith("/api/"):
                for code in everywhere:
                    operation["responses"][str(STATUS[code])] = {
                        "description": code,
                        "content": error,
                    }
    if with_keys:
        document["components"]["securitySchemes"] = {
            "api_key": {"type": "http", "scheme": "bearer"}
        }
        document["security"] = [{"api_key": []}]
    return document
