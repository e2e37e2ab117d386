"""Routes that are worked out when the first request for one comes, not when the process starts."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.routing import Match
from starlette.types import Scope


class LateRoute(APIRoute):
    """FastAPI reads a handler's signature and builds what checks its answers: 2 ms for each route,
    and there are dozens. Whatever asks for more than is set here has that done."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.path = path
        self.endpoint = endpoint
        self.methods = {method.upper() for method in options["methods"] or ["GET"]}
        self._beginning = path.partition("{")[0]
        self._options = options

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not get_route_path(scope).startswith(self._beginning):
            return Match.NONE, {}
        return super().matches(scope)

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.pop("_options", None)
        if options is None:
            raise AttributeError(name)
        super().__init__(self.path, self.endpoint, **options)
        return getattr(self, name)


def late_router(**options: Any) -> APIRouter:
    """With the options of APIRouter."""
    return APIRouter(route_class=LateRoute, **options)
