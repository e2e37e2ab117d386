"""How several test processes share the tests: what goes together, and what is begun first."""

import re
from functools import cache

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.paths import ROOT


class BeginLongest(LoadScopeScheduling):
    """A slow test goes to whichever process is free, unless its file says that its tests share a
    fixture; others stay together, file by file.

    This stands in for `--dist loadgroup`: xdist 3.8 writes a group into the names of tests, and
    pytest 9.2 does not let it. Who deals out the tests knows their names only, hence the look into
    the files.

    Slow tests wait more than they compute, quick ones compute. So one process takes quick ones from
    the start, those at the end of the list first: no core is idle, and whoever waits is not kept
    waiting, since that process is nice to the others.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        if takes_quick_ones(node.gateway.id, self.numnodes):
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        left = next(reversed(self.workqueue), None)
        if left and _is_slow(left) and takes_quick_ones(node.gateway.id, self.numnodes):
            if not node.shutting_down:
                node.shutdown()
            return
        super()._reschedule(node)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if _is_slow(file) and "shares_a_fixture" not in _marks(file) else file


def takes_quick_ones(process: str, processes: int) -> bool:
    """Of several, the last does."""
    return processes > 1 and process == f"gw{processes - 1}"


def _is_slow(scope: str) -> bool:
    return "slow" in _marks(scope.partition("::")[0])


@cache
def _marks(file: str) -> str:
    found = re.search(r"^pytestmark = (.*)", (ROOT / file).read_text(), re.MULTILINE)
    return found[1] if found else ""


def begin_longest(items: list[pytest.Item]) -> None:
    """Sort them, so that none that takes long is waited for in the end."""

    def order(item: pytest.Item) -> int:
        slow = item.get_closest_marker("slow")
        return 2 if slow is None else 1 - slow.kwargs.get("longest", False)

    items.sort(key=order)
