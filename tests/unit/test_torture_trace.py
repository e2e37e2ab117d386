"""What a trace proves of acknowledgements, and what a power cut leaves, without a service."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tools.torture import trace
from tools.torture.power_cut import cuts
from tools.torture.trace import FileWrite, Sent, Sync, Trace

DATABASE = Path("/data/insights.db")
LOG = f"{DATABASE}-wal"
ID = "conv_0123abcd"
SOCKET = "socket:[77]"


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _line(start: float, call: str, path: str, *arguments: str, took: float = 0.001) -> str:
    inside = ", ".join([f"5<{_hex(path.encode())}>", *arguments])
    return f"{start:.6f} {call}({inside}) = 99 <{took:.6f}>\n"


def _write(start: float, *, id_: str = ID) -> str:
    return _line(start, "pwrite64", LOG, f'"{_hex(id_.encode())}"', "4096", "32")


def _sync(start: float, *, took: float = 0.001, path: str = LOG) -> str:
    return _line(start, "fdatasync", path, took=took)


def _answer(start: float, *, id_: str = ID) -> str:
    body = f'"{_hex(b"HTTP/1.1 202 Accepted ... " + id_.encode())}"'
    return _line(start, "sendto", SOCKET, body, "99", "0", "NULL", "0")


@pytest.mark.parametrize(
    ("lines", "is_safe"),
    [
        ([_write(1.0), _sync(2.0), _answer(3.0)], True),
        ([_answer(3.0), _sync(2.0), _write(1.0)], True),  # threads' files follow each other
        ([_write(1.0), _answer(3.0)], False),
        ([_sync(0.5), _write(1.0), _answer(3.0)], False),
        ([_write(1.0), _sync(2.0, took=1.5), _answer(3.0)], False),  # it had not ended
        ([_write(1.0), _sync(0.9995, took=0.1), _answer(3.0)], False),  # begun too early
        ([_write(1.0), _sync(2.0, path=str(DATABASE)), _answer(3.0)], False),
        ([_sync(2.0), _answer(3.0)], False),
        ([_write(1.0), _sync(2.0)], False),
        ([_write(1.0), _sync(2.0), _answer(3.0, id_="conv_ffffffff")], False),
    ],
)
def test_an_answer_is_safe_after_a_sync_that_began_after_the_write(
    lines: list[str], is_safe: bool
) -> None:
    seen = trace.parse(lines)

    assert trace.answered_too_soon(seen, [ID], DATABASE) == ([] if is_safe else [ID])


def test_writes_are_read_with_their_place_and_their_bytes() -> None:
    data = bytes(range(99))
    lines = [
        _line(1.0, "pwrite64", LOG, f'"{_hex(data)}"', "99", "4120"),
        _line(2.0, "ftruncate", LOG, "512"),
        "3.000000 fdatasync(5<\\x2f>) = -1 EIO (Input/output error) <0.000010>\n",
        "4.000000 +++ exited with 0 +++\n",
    ]

    assert trace.parse(lines) == Trace(
        [FileWrite(LOG, 1.0, 1.001, 4120, data), FileWrite(LOG, 2.0, 2.001, 512, None)], [], []
    )


@pytest.mark.parametrize("is_synced", [True, False])
def test_a_cut_keeps_what_was_synced_and_loses_some_of_the_rest(
    tmp_path: Path, is_synced: bool
) -> None:
    before, database = tmp_path / "before.db", tmp_path / "insights.db"
    with closing(sqlite3.connect(before)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE conversations (id TEXT)")
        connection.commit()
    database.write_bytes(before.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO conversations VALUES (?)", [ID])
        connection.commit()
        log = Path(f"{database}-wal").read_bytes()
    path = f"{database}-wal"
    syncs = [Sync(path, 2.0, 2.5)] if is_synced else []
    seen = Trace([FileWrite(path, 1.0, 1.1, 0, log)], syncs, [Sent(3.0, ID.encode())])

    found = list(
        cuts(
            seen,
            [ID],
            before=before,
            database=database,
            folder=tmp_path,
            number=10,
            draw=random.Random(1),
        )
    )

    assert {cut.acknowledged for cut in found} <= {0, 1}
    assert [cut.damage for cut in found] == [None] * 10
    lost = [cut.lost for cut in found if cut.acknowledged]
    assert lost
    assert ([ID] in lost) is not is_synced
