"""Who may reach a route: marked on its handler, and read from the route that will answer.

A request's path decides nothing by itself. A root path, a mount, a doubled slash or an escape can
spell it differently from how the router reads it, so the router's own matching decides.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from starlette._utils import get_route_path
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from api.holding import MOST_SECONDS
from config import Scope as KeyScope

Handler = TypeVar("Handler", bound=Callable[..., object])


class Access(NamedTuple):
    """`scope` is None where no key opens the route. Limited ones count to the inbound limit;
    `any_host` ones answer whatever `Host` was asked for. `most_held` are the seconds for which an
    open one is held at most, where too many are asked for."""

    open: bool = False
    scope: KeyScope | None = None
    limited: bool = True
    any_host: bool = False
    most_held: float = MOST_SECONDS


NEVER_SAID = Access()
"""Of a route whose handler names no scope: closed to everybody as soon as there are keys."""
ANY_KEY = Access(scope="read")
OPEN = Access(open=True, limited=False)

_ATTRIBUTE = "__access__"
_OF_THE_API = re.compile(r"/+api(/|$)")


def needs(scope: KeyScope, *, limited: bool = True) -> Callable[[Handler], Handler]:
    """The handler takes keys of this scope and above."""
    return _marked(Access(scope=scope, limited=limited))


def open_to_all(
    *, any_host: bool = False, most_held: float = MOST_SECONDS
) -> Callable[[Handler], Handler]:
    """The handler takes no key, and does not count to the inbound limit."""
    return _marked(OPEN._replace(any_host=any_host, most_held=most_held))


def _marked(access: Access) -> Callable[[Handler], Handler]:
    def mark(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, access)
        return handler

    return mark


def access_of(route: BaseRoute) -> Access:
    """The mark on the route's handler, or on the app that a mount serves."""
    said = getattr(route, "endpoint", None) or getattr(route, "app", None)
    found = getattr(said, _ATTRIBUTE, NEVER_SAID)
    assert isinstance(found, Access)
    return found


def find_access(routes: Sequence[BaseRoute], scope: Scope) -> Access:
    """The access of the route that will answer. Where the answer will be a 405 or a 404, the access
    that such an answer needs.

    A proxy may hand the root path on: where no route answers, `scope` loses the second of two. That
    path alone, without a slash, is the way to the page.
    """
    access = _access_by_route(routes, scope)
    root_path = scope.get("root_path", "")
    inside = get_route_path(scope)
    if access is None and root_path and f"{inside}/".startswith(f"{root_path}/"):
        scope["path"] = f"{root_path}/" if inside == root_path else inside
        access = _access_by_route(routes, scope)
    if access is None:
        access = ANY_KEY if _OF_THE_API.match(get_route_path(scope)) else OPEN
    return access


def _access_by_route(routes: Sequence[BaseRoute], scope: Scope) -> Access | None:
    wrong_method: Access | None = None
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return access_of(route)
        if match is Match.PARTIAL and wrong_method is None:
            access = access_of(route)
            wrong_method = access if access.open else ANY_KEY._replace(limited=access.limited)
    return wrong_method
