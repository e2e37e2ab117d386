"""Ids in a request's path, each a prefix and 8 lower-case hex digits."""

import re
from collections.abc import Callable

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
