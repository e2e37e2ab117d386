"""Which rows came before, in a temporary file: a set of ten million would not fit into memory."""

import sqlite3


def temporary_database() -> sqlite3.Connection:
    """A file without a name: gone when this process is, however it ends."""
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -8000"):
        database.execute(f"PRAGMA {pragma}")
    return database


class Duplicates:
    """`ids_shared` counts rows whose id came before, with another text."""

    def __init__(self) -> None:
        self._database = temporary_database()
        self._database.executescript(
            "CREATE TABLE rows (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID;"
            "CREATE TABLE ids (id TEXT PRIMARY KEY, digest BLOB) WITHOUT ROWID;"
            "BEGIN"
        )
        self.ids_shared = 0

    def close(self) -> None:
        self._database.close()

    def is_new(self, digest: bytes) -> bool:
        """Remember it. Whether it did not come before."""
        added = self._database.execute("INSERT OR IGNORE INTO rows VALUES (?, 1)", (digest,))
        return added.rowcount > 0

    def times_before(self, digest: bytes) -> int:
        """Remember it. How often it came before."""
        ((times,),) = self._database.execute(
            "INSERT INTO rows VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1"
            " RETURNING times",
            (digest,),
        )
        return int(times) - 1

    def is_new_with_id(self, id_: str, digest: bytes) -> bool:
        """Whether neither this id nor this text under it came before. `digest` covers both."""
        added = self._database.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (id_, digest))
        if added.rowcount > 0:
            return True
        ((first,),) = self._database.execute("SELECT digest FROM ids WHERE id = ?", (id_,))
        if first == digest or not self.is_new(id_.encode() + digest):
            return False
        self.ids_shared += 1
        return True
