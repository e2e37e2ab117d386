"""With --conversations: reply chains put together, one conversation for each.

All messages go to a temporary database first, since replies may come before what they answer. A
message belongs to the thread that its own column names, else to that of the message it answers. An
answer to a message that is not there belongs with the other answers to it. A cycle of replies is
cut before its earliest message.

A conversation's text has a line for each message, `@author: text`, in the order of time. It is cut
between two messages where it would become longer than the service takes.
"""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile
from typing import Any

from importing.duplicates import temporary_database
from importing.records import Record
from importing.rows import Item, Row, digest_of, make_item, make_key

_NAME_LENGTH = 50

_TABLE = """
CREATE TABLE messages (
    n INTEGER PRIMARY KEY, line INTEGER, id TEXT, parent TEXT, thread TEXT, author TEXT, time TEXT,
    inbound INTEGER, text TEXT, raw_data TEXT, fields TEXT,
    up INTEGER, root INTEGER, depth INTEGER, at TEXT
);
BEGIN;
"""

# What is only pointed to gets a row of its own, without a text.
_LINK = """
CREATE INDEX by_id ON messages (id);
INSERT INTO messages (thread) SELECT DISTINCT thread FROM messages WHERE thread IS NOT NULL;
CREATE INDEX heads ON messages (thread) WHERE text IS NULL;
INSERT INTO messages (id)
    SELECT DISTINCT parent FROM messages AS reply
    WHERE thread IS NULL AND parent IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM messages WHERE id = reply.parent);
UPDATE messages SET at = time, up = CASE
    WHEN thread IS NOT NULL
        THEN (SELECT n FROM messages AS head WHERE thread = messages.thread AND text IS NULL)
    WHEN parent IS NOT NULL AND parent <> id
        THEN (SELECT min(n) FROM messages AS answered WHERE id = messages.parent)
    END
WHERE text IS NOT NULL;
CREATE INDEX by_up ON messages (up);
"""

_PLACE = """
WITH RECURSIVE down (n, root, depth) AS (
    SELECT n, n, 0 FROM messages WHERE n = :root OR (:root IS NULL AND up IS NULL)
    UNION ALL
    SELECT reply.n, down.root, down.depth + 1 FROM down JOIN messages AS reply ON reply.up = down.n
)
UPDATE messages SET root = down.root, depth = down.depth FROM down WHERE messages.n = down.n
"""

_FILL_TIMES = """
CREATE INDEX timed ON messages (root, n) WHERE time IS NOT NULL;
UPDATE messages SET at = (
    SELECT time FROM messages AS before
    WHERE before.root = messages.root AND before.n < messages.n AND before.time IS NOT NULL
    ORDER BY before.n DESC LIMIT 1
) WHERE time IS NULL AND text IS NOT NULL;
CREATE INDEX in_order ON messages (root, at, depth, n) WHERE text IS NOT NULL;
"""

_IN_ORDER = """
SELECT message.*, head.id AS root_id, head.thread AS root_thread
FROM messages AS message INDEXED BY in_order JOIN messages AS head ON head.n = message.root
WHERE message.text IS NOT NULL ORDER BY message.root, message.at, message.depth, message.n
"""


@dataclass(slots=True)
class Links:
    """How many threads there are, and what was odd about them: counts."""

    threads: int = 0
    alone: int = 0
    orphans: int = 0
    missing: int = 0
    cycles: int = 0
    older: int = 0
    cut: int = 0


class Threads:
    """`max_text` is the most characters that a conversation's text may have."""

    def __init__(self, *, max_text: int) -> None:
        self._max_text = max_text
        self._database = temporary_database()
        self._database.executescript(_TABLE)
        self._count = 0
        self.links = Links()

    def close(self) -> None:
        self._database.close()

    def add(self, row: Row, digest: bytes) -> None:
        self._count += 1
        # A message without an id answers and is answered by nobody; its own serves to name it.
        self._database.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)",
            (
                self._count,
                row.record.line,
                row.id or digest.hex(),
                row.parent,
                row.thread,
                row.author,
                row.time,
                row.inbound,
                row.text,
                json.dumps(row.raw_data),
                json.dumps(row.record.fields),
            ),
        )

    def items(self) -> Iterator[Item]:
        """One conversation for each thread, or several where it is too long, in the file's order of
        roots; threads whose root is missing come last. To be called once, after all `add`s."""
        self._link()
        root, messages, part, length = -1, list[dict[str, Any]](), 1, 0
        cursor = self._database.execute(_IN_ORDER)
        names = [column[0] for column in cursor.description]
        for values in cursor:
            message = dict(zip(names, values, strict=True))
            line = _spoken(message, self._max_text)
            if messages and message["root"] == root and length + 1 + len(line) > self._max_text:
                self.links.cut += part == 1
                yield self._item(messages, part)
                messages, part, length = [], part + 1, 0
            elif messages and message["root"] != root:
                yield self._item(messages, part)
                messages, part, length = [], 1, 0
            root = message["root"]
            message["spoken"] = line
            messages.append(message)
            length += len(line) + bool(length)
        if messages:
            yield self._item(messages, part)

    # --- who answers whom ---------------------------------------------------------------------

    def _link(self) -> None:
        database, links = self._database, self.links
        database.execute("COMMIT")
        database.executescript(f"BEGIN; {_LINK} COMMIT")
        database.execute(_PLACE, {"root": None})
        links.cycles = self._count_where("parent = id AND thread IS NULL")
        while (head := self._cycle()) is not None:
            links.cycles += 1
            database.execute("UPDATE messages SET up = NULL WHERE n = ?", (head,))
            database.execute(_PLACE, {"root": head})
        database.executescript(f"BEGIN; {_FILL_TIMES} COMMIT")
        ((links.missing, links.orphans),) = database.execute(
            "SELECT count(DISTINCT head.n), count(*) FROM messages AS head"
            " JOIN messages AS reply ON reply.up = head.n WHERE head.text IS NULL"
            " AND head.thread IS NULL"
        )
        ((links.threads, links.alone),) = database.execute(
            "SELECT count(*), coalesce(sum(messages = 1), 0) FROM (SELECT count(*) AS messages"
            " FROM messages WHERE text IS NOT NULL GROUP BY root)"
        )
        ((links.older,),) = database.execute(
            "SELECT count(*) FROM messages AS reply JOIN messages AS answered"
            " ON answered.n = reply.up WHERE reply.time < answered.time"
        )

    def _count_where(self, condition: str) -> int:
        ((count,),) = self._database.execute(f"SELECT count(*) FROM messages WHERE {condition}")  # noqa: S608  # our own text
        return int(count)

    def _cycle(self) -> int | None:
        """The number of the earliest message of one cycle; None where there is none."""
        start = self._database.execute("SELECT n FROM messages WHERE root IS NULL LIMIT 1")
        found = start.fetchone()
        if found is None:
            return None
        (n,) = found
        passed: dict[int, None] = {}
        while n not in passed:
            passed[n] = None
            ((n,),) = self._database.execute("SELECT up FROM messages WHERE n = ?", (n,))
        ring = list(passed)[list(passed).index(n) :]

        def when(number: int) -> tuple[str, str]:
            ((time, id_),) = self._database.execute(
                "SELECT coalesce(time, ''), coalesce(id, '') FROM messages WHERE n = ?", (number,)
            )
            return time, id_

        return min(ring, key=when)

    # --- one conversation ---------------------------------------------------------------------

    def _item(self, messages: list[dict[str, Any]], part: int) -> Item:
        first = messages[0]
        root = first["root_thread"] or first["root_id"]
        key = make_key(first["at"], digest_of("thread", root, first["text"], part))
        records = [Record(each["line"], json.loads(each["fields"])) for each in messages]
        alone = len(messages) == 1 and part == 1
        raw_data: dict[str, Any] | None = json.loads(first["raw_data"])
        if not alone:
            raw_data = {"thread": root, "part": part, "messages": [_details(m) for m in messages]}
        return make_item(
            records,
            key,
            first["text"] if alone else "\n".join(each["spoken"] for each in messages),
            author=next((each["author"] for each in messages if each["inbound"]), first["author"]),
            time=first["at"],
            raw_data=raw_data,
        )


def _spoken(message: dict[str, Any], max_text: int) -> str:
    """On one line, so that nobody can put words into another's mouth."""
    text = " ".join(message["text"].splitlines())
    line = f"@{_name(message['author'] or '')}: {text}"
    return line if len(line) <= max_text else text


def _name(author: str) -> str:
    """The first word of it: letters, digits and `_` of any script. Signs could end a line, or
    look as if another one spoke."""
    letters = dropwhile(lambda letter: not _is_in_word(letter), author)
    return "".join(islice(takewhile(_is_in_word, letters), _NAME_LENGTH)) or "unknown"


def _is_in_word(letter: str) -> bool:
    # Marks are vowels in the scripts of India and a part of the letter in many others.
    return letter.isalnum() or letter == "_" or unicodedata.category(letter) in ("Mn", "Mc")


def _details(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "author": message["author"],
        "timestamp": message["time"],
        **(json.loads(message["raw_data"]) or {}),
    }
