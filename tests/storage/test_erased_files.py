"""What is erased leaves the files of SQLite."""

from pathlib import Path

import pytest
from sqlalchemy import text

from database import Database
from errors import NotFound
from models import Lane
from store.conversations import ConversationStore
from tests.storage.conftest import Locks
from tests.support.factories import accept, new_conversation, open_read
from tests.support.http_helpers import eventually
from tests.support.stored import count

# --- erasing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "rows"), [(1000, 500), (2_000_000, 1)])
async def test_there_is_a_checkpoint_once_nobody_waits_for_a_write(
    opened: Database, tmp_path: Path, length: int, rows: int
) -> None:
    """The file itself only grows by a checkpoint, which SQLite alone would put off until the log
    has sixteen million bytes."""
    file = tmp_path / "insights.db"
    before = file.stat().st_size
    rows_in = [new_conversation("x" * length)] * rows
    await ConversationStore(opened).accept(rows_in, lane=Lane.BULK)
    await eventually(lambda: file.stat().st_size > before + 400_000)


async def test_a_truncating_checkpoint_empties_the_log(opened: Database, tmp_path: Path) -> None:
    await accept(opened)
    assert (tmp_path / "insights.db-wal").stat().st_size > 0
    await opened.checkpoint_truncate()
    assert (tmp_path / "insights.db-wal").stat().st_size == 0
    assert await count(opened) == 1


async def test_erasing_succeeds_although_no_checkpoint_can_be_made(
    quick: Database, locked: Locks
) -> None:
    id_ = await accept(quick)
    with locked():
        await quick.checkpoint_truncate()
    await ConversationStore(quick).erase(id_)
    with pytest.raises(NotFound):
        await ConversationStore(quick).find(id_)


# --- what is erased leaves the files --------------------------------------------------------------


async def test_an_erased_text_leaves_the_log_also_when_a_reader_stood_in_the_way(
    opened: Database, tmp_path: Path
) -> None:
    store = ConversationStore(opened)
    (id_,) = await store.accept([new_conversation("a-most-private-text")], lane=Lane.LIVE)
    async with open_read(opened, text("SELECT count(*) FROM conversations")):
        await store.erase(id_)
    await store.accept([new_conversation("the next one")], lane=Lane.LIVE)

    assert files_with(tmp_path, b"the next one") != []
    assert files_with(tmp_path, b"a-most-private-text") == []


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.glob("insights.db*") if needle in path.read_bytes()]
