"""The ids of a file's rows, and which of them a spreadsheet has ruined."""

import re

from importing.errors import RowRejected
from importing.values import plain

_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")
_ROUNDED = re.compile(r"\d{15}0{2,}")
_FLOAT = re.compile(r"(\d+)\.0+")
_ID = re.compile(r"[\w.:/@+-]{1,200}")
_NO_ID = frozenset(("", "nan", "none", "null", "nat", "n/a", "<na>", "\\n"))
_TOO_MANY = 0.05
"""Share of long ids that end in zeros, above which a spreadsheet has rounded them. Of genuine ids
at most one in a hundred ends so."""


class Ids:
    """Tells ids from what a spreadsheet made of them."""

    def __init__(self) -> None:
        self.all = self.long = self.scientific = self.rounded = 0
        self.example = ""

    def learn(self, value: object) -> None:
        text = _id_text(value)
        if text.lower() in _NO_ID:
            return
        self.all += 1
        self.long += text.isdecimal() and len(text) >= 17
        scientific, rounded = _SCIENTIFIC.fullmatch(text), _ROUNDED.fullmatch(text)
        self.scientific += scientific is not None
        self.rounded += rounded is not None
        if scientific or rounded:
            self.example = self.example or text

    @property
    def ruined(self) -> bool:
        """Most ids are damaged, so that they identify no row."""
        return self.scientific + self._rounded_for_sure > self.all / 2

    @property
    def _rounded_for_sure(self) -> int:
        return self.rounded if self.rounded > self.long * _TOO_MANY else 0

    def read(self, value: object) -> str | None:
        """The id as text; None for an empty value. Raises RowRejected where it is no id, or where a
        spreadsheet has damaged it."""
        text = _id_text(value)
        if text.lower() in _NO_ID:
            return None
        if not text.isdecimal() and _SCIENTIFIC.fullmatch(text):
            raise RowRejected(f"the id {text} lost its digits in a spreadsheet")
        if self._rounded_for_sure and _ROUNDED.fullmatch(text):
            raise RowRejected(f"the id {text} was rounded by a spreadsheet")
        if not _ID.fullmatch(text):
            raise RowRejected(f"not an id: {text[:50]}")
        return text


def _id_text(value: object) -> str:
    """Without what pandas (`3.0`) and spreadsheet users (`'12`) put to it."""
    value = plain(value) if isinstance(value, dict) else value
    text = "" if value is None else str(value).strip().removeprefix("'")
    found = _FLOAT.fullmatch(text) if "." in text else None
    return found[1] if found else text
