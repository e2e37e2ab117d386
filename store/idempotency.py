"""Which conversations idempotency keys led to. The keys of one API key are not another's."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from models import conversations

EVERYBODY = ""
"""Owner of what comes in without an API key, and came in before idempotency keys had owners."""


class Key(NamedTuple):
    """An idempotency key and whose it is."""

    key: str
    owner: str


class Known(NamedTuple):
    """The conversation that a key led to."""

    id: str
    body_hash: str


def known_keys(connection: Connection, keys: Sequence[str]) -> dict[Key, Known]:
    """Of all owners."""
    if not keys:
        return {}
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(_SQLITE_KNOWN_KEYS, (json.dumps(keys),))
    else:
        found = connection.execute(_KNOWN_KEYS, {"keys": keys})
    return {Key(key, owner): Known(id_, body_hash) for key, owner, id_, body_hash in found}


_KNOWN_KEYS = select(
    conversations.c.idempotency_key,
    conversations.c.key_owner,
    conversations.c.id,
    conversations.c.body_hash,
).where(conversations.c.idempotency_key.in_(bindparam("keys", expanding=True)))
# The same with one parameter for all keys, which takes a third of the time.
_SQLITE_KNOWN_KEYS = """
SELECT idempotency_key, key_owner, id, body_hash FROM conversations
WHERE idempotency_key IN (SELECT value FROM json_each(?))
"""


def of_everybody(key: Key) -> Key:
    return key._replace(owner=EVERYBODY)
