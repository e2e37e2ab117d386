"""Which conversations idempotency keys led to. The keys of one API key are not another's."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from models import conversations
from store.statements import Prepared, among

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
    found = _KNOWN_KEYS.run(connection, {"keys": keys})
    return {Key(key, owner): Known(id_, body_hash) for key, owner, id_, body_hash in found}


_KNOWN_KEYS = Prepared(
    select(
        conversations.c.idempotency_key,
        conversations.c.key_owner,
        conversations.c.id,
        conversations.c.body_hash,
    ).where(among(conversations.c.idempotency_key, "keys"))
)
