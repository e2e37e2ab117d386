"""A database's files are for their owner alone."""

import os
import stat
from contextlib import suppress

from backends.file_lock import LOCK_SUFFIX

_MODE = 0o600
_SUFFIXES = ("", "-wal", "-shm", "-journal", LOCK_SUFFIX)


def keep_private(path: str) -> None:
    """See that a database's files are for their owner alone.

    SQLite gives the files that it puts beside a database the mode of that. Files that are there
    already lose what others may do, since earlier versions left it to the umask.
    """
    # One that exists must not be opened: closing it would drop SQLite's own locks on it.
    with suppress(OSError):  # where it cannot be made, opening it says why
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))
    for suffix in _SUFFIXES:
        with suppress(OSError):  # not there, or another user's
            mode = os.stat(path + suffix).st_mode
            is_file = stat.S_ISREG(mode)  # a folder that is named by mistake stays usable
            if is_file and mode & 0o077:
                os.chmod(path + suffix, mode & _MODE)
