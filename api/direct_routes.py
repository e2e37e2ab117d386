"""The shortest way to handlers that read their request and build their response by themselves.

FastAPI's way to a handler (two error handlers, three stacks of contexts, its router, a query read
field by field) takes up to a fifth of what a request costs, and gives such a handler nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.error_responses import error_response
from api.path_ids import template_of, template_of_route
from errors import InvalidInput, ServiceError
from schemas import explain


class DirectRoutes:
    """Calls the handlers of `routes` with the request, the ids in its path, which are their only
    parameters, and, where they take a `query`, with that; all other requests go on. The routes are
    the application's too: it describes them, and answers for what does not match to the letter."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = {
            (method, template_of_route(route.path)[0]): _Direct(route)
            for route in routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        template, ids = template_of(get_route_path(scope))
        found = self._routes.get((scope["method"], template))
        if found is None or not found.takes(ids):
            await self._app(scope, receive, send)
            return
        scope["route"] = found.route
        request = Request(scope, receive, send)
        response: Response
        try:
            response = await found.route.endpoint(request, **found.read(request, ids))
        except ServiceError as error:
            response = error_response(error)
        await response(scope, receive, send)


class _Direct:
    """A route, and what its handler takes besides the request."""

    def __init__(self, route: APIRoute) -> None:
        self.route = route
        hints = get_type_hints(route.endpoint, include_extras=True)
        _, names = template_of_route(route.path)
        self._ids = {name: TypeAdapter(hints[name]) for name in names}
        self._query: type[BaseModel] | None = get_type_hints(route.endpoint).get("query")

    def takes(self, ids: Sequence[str]) -> bool:
        """False where a part of the path is a blank itself, which is no id."""
        return len(ids) == len(self._ids)

    def read(self, request: Request, ids: Sequence[str]) -> Mapping[str, Any]:
        """By name. Raises NotFound for what is no id of this kind, and InvalidInput."""
        values: dict[str, Any] = {
            name: kind.validate_python(id_)
            for (name, kind), id_ in zip(self._ids.items(), ids, strict=True)
        }
        if self._query is not None:
            values["query"] = _read_query(self._query, request)
        return values


def _read_query(shape: type[BaseModel], request: Request) -> BaseModel:
    """Of names that come twice the last counts. Raises InvalidInput."""
    sent = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        return shape.model_validate(dict(sent))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    raise InvalidInput(explain(errors))
