"""Cursors of pages: the two integers that rows are ordered by, of the page's last row, as text.

A checksum tells one that was cut, altered or given for another list: it would skip rows unseen.
"""

import base64
import binascii
import struct
import zlib

from errors import InvalidInput

_CURSOR = struct.Struct(">qqI")


def encode(of: str, first: int, second: int) -> str:
    """`of` is the list's name."""
    checksum = zlib.crc32(f"{of} {first} {second}".encode())
    return base64.urlsafe_b64encode(_CURSOR.pack(first, second, checksum)).decode().rstrip("=")


def decode(of: str, cursor: str) -> tuple[int, int]:
    """Raises InvalidInput for what `encode` did not give for that list."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        first, second, _ = _CURSOR.unpack(packed)
    except (binascii.Error, struct.error, ValueError):
        first = second = 0
    if encode(of, first, second) != cursor:
        raise InvalidInput("cursor: not a next_cursor that this service gave for this list")
    return first, second
