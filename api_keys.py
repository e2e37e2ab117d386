"""Who may do what: API keys and their scopes."""

import hashlib
import hmac
from collections.abc import Sequence

from config import ApiKey, Scope
from errors import Forbidden, Unauthorized

_RANK: dict[Scope, int] = {"read": 1, "write": 2, "admin": 3}


class ApiKeys:
    """The configured keys. A scope includes those below it: admin > write > read.

    Without any key configured everybody may do everything.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, presented: str, needed: Scope) -> str | None:
        """The name of the key, None where none is configured. Raises Unauthorized or Forbidden.

        Keys are compared by hash in constant time, and always with all of them, so that the time
        taken tells nothing. Plain SHA-256 is enough for keys that are long and random.
        """
        if not self._keys:
            return None
        if not presented:
            raise Unauthorized("This service needs an API key: Authorization: Bearer <key>.")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        matching = [key for stored, key in self._keys if hmac.compare_digest(stored, digest)]
        if not matching:
            raise Unauthorized("The API key is not valid.")
        for key in matching:
            if _RANK[key.scope] >= _RANK[needed]:
                return key.name
        raise Forbidden(f"This needs an API key with the scope {needed}.")
