"""Who may do what: API keys and their scopes."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.requests import Request

from api.connections import network_of
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

    def identify(self, presented: str) -> ApiKey:
        """The key, with its highest scope where it is configured more than once. Raises
        Unauthorized.

        Keys are compared by hash in constant time, and always with all of them, so that the time
        taken tells nothing. Plain SHA-256 is enough for keys that are long and random.
        """
        if not presented:
            raise Unauthorized("This service needs an API key: Authorization: Bearer <key>.")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        matching = [key for stored, key in self._keys if hmac.compare_digest(stored, digest)]
        if not matching:
            raise Unauthorized("The API key is not valid.")
        return max(matching, key=lambda key: _RANK[key.scope])


def check_scope(key: ApiKey, needed: Scope | None) -> None:
    """Raises Forbidden. No key is enough where `needed` is None."""
    if needed is None:
        raise Forbidden("No API key opens this.")
    if _RANK[key.scope] < _RANK[needed]:
        raise Forbidden(f"This needs an API key with the scope {needed}.")


def key_scope(request: Request) -> Scope | None:
    """Of the API key that this request came with; None where none is needed."""
    key = request.scope["api_key"]
    return key.scope if key else None


def key_name(request: Request) -> str:
    """The name of the API key that this request came with; empty where none is needed."""
    key = request.scope["api_key"]
    return key.name if key else ""


def holder_of(request: Request) -> str:
    """Who shares with others what there is too little of: the API key's name, or where none is
    needed the address."""
    address: str = (request.scope.get("client") or ("",))[0]
    return key_name(request) or network_of(address)
