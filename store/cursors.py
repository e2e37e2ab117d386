"""Cursors of pages: the two integers that rows are ordered by, of the page's last row, as text."""

import base64
import binascii
import struct

from errors import InvalidInput

_CURSOR = struct.Struct(">qq")


def encode(*position: int) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(*position)).decode().rstrip("=")


def decode(cursor: str) -> tuple[int, int]:
    """Raises InvalidInput for what `encode` did not give."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        first, second = _CURSOR.unpack(packed)
    except (binascii.Error, struct.error, ValueError):
        raise InvalidInput("cursor: not a next_cursor that this service gave") from None
    return first, second
