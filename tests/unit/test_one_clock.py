"""What is stored and what is asked for by default go by one clock, the one that is followed."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from models import follow_clock, follow_own_clock, to_micros, utc_now
from schemas import InsightQuery
from tests.support.paths import ROOT
from worker.housekeeper import Housekeeper

THERE = datetime(2025, 1, 20, 12, tzinfo=UTC)
"""By the database's clock."""
OWN = {
    "api/operations.py",  # the age of a file of this machine
    "store/backups/__init__.py",
    "store/backups/folder.py",
    "store/backups/manifest.py",
    "store/replicas.py",  # which finds out by how much they differ
    "worker/alerts.py",  # when to look, not what at
    "worker/backups.py",
    "worker/machine.py",  # the age of a backup
    "models.py",
}
"""Files that may ask the machine itself."""


@pytest.fixture
def _there() -> Iterator[None]:
    follow_clock(to_micros(THERE), time.monotonic_ns())
    yield
    follow_own_clock()


def is_now(moment: datetime) -> bool:
    return THERE <= moment < THERE + timedelta(minutes=5)


@pytest.mark.usefixtures("_there")
def test_the_time_that_a_list_ends_at_by_default_is_by_the_followed_clock() -> None:
    assert is_now(utc_now())
    query = InsightQuery.model_validate({"order": "priority"})
    assert is_now(query.end_time)


@pytest.mark.usefixtures("_there")
async def test_what_is_too_old_is_so_by_the_followed_clock() -> None:
    asked = []

    class Erasure:
        async def erase_older_than(self, moment: datetime, **_: object) -> int:
            asked.append(moment)
            return 0

        async def sweep(self) -> bool:
            return False

    class Nothing:
        async def prune(self, **_: object) -> int:
            return 0

        async def is_taken_up(self) -> bool:
            return True

    nothing: object = Nothing()
    keeper = Housekeeper(
        Erasure(),  # type: ignore[arg-type]
        nothing,  # type: ignore[arg-type]
        own_posts=nothing,  # type: ignore[arg-type]
        retention=timedelta(days=2),
    )
    await keeper.tidy_up()
    assert is_now(asked[0] + timedelta(days=2))


def test_nothing_else_asks_the_machine_for_the_time() -> None:
    asking = re.compile(r"datetime\.now\(|datetime\.now,|time\.time(_ns)?\(")
    folders = [ROOT / name for name in ("analysis", "api", "store", "worker", "grok")]
    files = [*ROOT.glob("*.py"), *(path for each in folders for path in each.rglob("*.py"))]
    clients = {"ingest_data.py", "evaluate.py"}
    found = {
        str(path.relative_to(ROOT))
        for path in files
        if path.name not in clients and asking.search(path.read_text())
    }
    assert found == OWN
