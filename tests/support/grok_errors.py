"""Errors as servers word them, and how the client reads one."""

import json
from typing import Any

import httpx

from grok.errors import GrokError, read_error

KEY = "xai-secret"


def told(
    status: int, body: object, *, texts: tuple[str, ...] = ("late",), headers: Any = None
) -> GrokError:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    response = httpx.Response(status, content=content, headers=headers)
    return read_error(response, key=KEY, texts=texts)


def openai(message: str, param: str | None = None, code: str | None = None, **more: Any) -> Any:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def fastapi(*loc: str | int, msg: str, type: str = "extra_forbidden", **more: Any) -> Any:
    return {"detail": [{"type": type, "loc": ["body", *loc], "msg": msg, **more}]}
