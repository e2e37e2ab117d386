"""Ids in a request's path, each a prefix and 8 lower-case hex digits."""

import re
from collections.abc import Callable, Sequence

from pydantic import AfterValidator

from errors import NotFound


def path_id(prefix: str, missing: Callable[[str], NotFound]) -> AfterValidator:
    """`Annotated[str, path_id("rule", no_such_rule)]` raises that error, without a query, for a
    text that cannot be an id."""
    possible = re.compile(rf"{prefix}_[0-9a-f]{{8}}")

    def check(id_: str) -> str:
        if not possible.fullmatch(id_):
            raise missing(id_)
        return id_

    return AfterValidator(check)


_ID = re.compile(r"(?<=/)[a-z]+_[0-9a-f]{8}(?=/|\Z)")
_PARAMETER = re.compile(r"(?<=/)\{([^/]*)\}(?=/|\Z)")


def template_of(path: str) -> tuple[str, Sequence[str]]:
    """A request's path with `{}` for each id, and the ids. All ids lead to one route, where no part
    of a route's path looks like one."""
    ids = _ID.findall(path)
    return (_ID.sub("{}", path) if ids else path), ids


def template_of_route(path: str) -> tuple[str, Sequence[str]]:
    """The same of a route's path, which has a name for each parameter: these are given."""
    return _PARAMETER.sub("{}", path), _PARAMETER.findall(path)
