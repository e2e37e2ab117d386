"""A key of each scope."""

import hashlib

KEYS = {scope: f"key-of-{scope}-{'x' * 20}" for scope in ("read", "write", "admin")}
API_KEYS = ",".join(
    f"team {scope}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}"
    for scope, key in KEYS.items()
)


def with_key(scope: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[scope]}
