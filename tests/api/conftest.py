"""What several files of the API's tests share: a service for each file."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.support.http_helpers import service
from tests.support.submitting import WIDE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service that stores and does not analyse, with room for texts of 200 characters."""
    folder = tmp_path_factory.mktemp("shared")
    async with service(folder, worker_enabled=False, max_text_length=WIDE) as client:
        yield client
