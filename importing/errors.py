"""The two ways in which loading goes wrong."""

import tempfile


class ImportFailed(Exception):
    """Loading cannot go on; says why, and what to do about it, in one line."""


def no_room(error: Exception) -> str:
    """What is wrong where a temporary file cannot be written, and what to do about it."""
    return (
        f"a temporary file in {tempfile.gettempdir()} cannot be written ({error}): make room there,"
        " or let TMPDIR name another folder"
    )


class RowRejected(Exception):
    """This row cannot be taken; says why. The others can."""
