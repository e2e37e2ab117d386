"""What several files of the API's tests share: a service for each file, and no waiting in one."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from api.holding import MOST_SECONDS, HeldRequests
from tests.support.http_helpers import service
from tests.support.submitting import WIDE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service that stores and does not analyse, with room for texts of 200 characters."""
    folder = tmp_path_factory.mktemp("shared")
    async with service(folder, worker_enabled=False, max_text_length=WIDE) as client:
        yield client


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that ask twice in a second, and mean it."""
    monkeypatch.setattr("api.cached_value.SECONDS", 0.0)


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that each of the answers might have to wait that had to, which none does here."""
    held: list[float] = []

    async def hold(_: object, address: str, receive: object, most: float = MOST_SECONDS) -> None:
        held.append(most)

    monkeypatch.setattr(HeldRequests, "hold", hold)
    return held
