"""The header by which a server says how long to wait."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def told_seconds(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds from a Retry-After in either of its forms (RFC 9110, 10.2.3), also a fraction of
    them; None where there is none, or nothing that can be read. Callers bound it: it may be
    infinite."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header, re.ASCII):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
