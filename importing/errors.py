"""The two ways in which loading goes wrong."""


class ImportFailed(Exception):
    """Loading cannot go on; says why, and what to do about it, in one line."""


class RowRejected(Exception):
    """This row cannot be taken; says why. The others can."""
