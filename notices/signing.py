"""Secrets and signatures as the Standard Webhooks specification has them."""

import base64
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime

from standardwebhooks import Webhook

_SECRET_BYTES = 32


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def signed_headers(
    secrets: Iterable[str], message_id: str, body: bytes, at: datetime
) -> Mapping[str, str]:
    """The three headers, with a signature by each secret. `at` is the time of this try, in UTC;
    `body` is what is sent, byte for byte."""
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, at, text) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
