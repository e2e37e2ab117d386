"""How several test processes share the tests: what goes together, and what is begun first."""

import re
from functools import cache

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.paths import ROOT


class BeginLongest(LoadScopeScheduling):
    """A slow test goes to whichever process is free, unless its file says that its tests share a
    fixture; others stay together, file by file.

    This stands in for `--dist loadgroup`: xdist 3.8 writes a group into the names of tests, and
    pytest 9.2 does not let it. Who deals out the tests knows their names only, hence the look into
    the files.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if _is_singly_dealt(file) else file


@cache
def _is_singly_dealt(file: str) -> bool:
    marks = re.search(r"^pytestmark = .*", (ROOT / file).read_text(), re.MULTILINE)
    return bool(marks and "slow" in marks[0] and "shares_a_fixture" not in marks[0])


def begin_longest(items: list[pytest.Item]) -> None:
    """Sort them, so that none that takes long is waited for in the end."""

    def order(item: pytest.Item) -> int:
        slow = item.get_closest_marker("slow")
        return 2 if slow is None else 1 - slow.kwargs.get("longest", False)

    items.sort(key=order)
