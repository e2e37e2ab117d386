"""How long a server says to wait: whatever it writes, a number of seconds or nothing."""

from datetime import UTC, datetime

import pytest

from runtime.retry_after import told_seconds

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1e3", None),
        ("٣", None),
        ("1 2", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("2.5", 2.5),
        ("9" * 400, float("inf")),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 13:01:30 +0100", 90.0),
        ("Sun, 01 Mar 2026 12:01:30 -0000", 90.0),  # a time without a zone
        ("Sun, 01 Mar 2026 11:59:59 GMT", 0.0),
        ("Sun, 01 Mar 99999 12:00:00 GMT", None),
        ("Sun, 01 Mar 99999999999999999999 12:00:00 GMT", None),
        ("Sun, 01 Mar 2026 12:00:00 +99999999999999999999", None),
        ("Sun, 01 Mar 2026 12:00:00 +9999", None),
    ],
)
def test_a_wait_in_either_form(header: str | None, seconds: float | None) -> None:
    assert told_seconds(header, now=NOW) == seconds
