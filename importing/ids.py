"""The ids of a file's rows, and which of them a spreadsheet or another program has ruined."""

import re

from importing.errors import RowRejected
from importing.values import plain

_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")
_ROUNDED = re.compile(r"\d{15}0{2,}")
_SEVENTEEN = re.compile(r"(\d{16}[1-9])00")
_FLOAT = re.compile(r"(\d+)\.0+")
_ID = re.compile(r"[\w.:/@+-]{1,200}")
_NO_ID = frozenset(("", "nan", "none", "null", "nat", "n/a", "<na>", "\\n"))
_TOO_MANY = 0.05
"""Share of long ids that end in zeros, above which a spreadsheet has rounded them. Of genuine ids
at most one in a hundred ends so."""
_FEW = 2
"""So many ids can end in two zeros by chance."""


class Ids:
    """Tells ids from what a spreadsheet made of them."""

    def __init__(self) -> None:
        self.all = self.long = self.scientific = self.rounded = self.doubles = 0
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
        double = _is_as_double(text)
        self.doubles += double
        if scientific or rounded or double:
            self.example = self.example or text

    @property
    def ruined(self) -> bool:
        """Most ids are damaged, so that they identify no row."""
        return self.scientific + self._rounded_for_sure > self.all / 2 or self._are_doubles

    @property
    def cause(self) -> str:
        """What has ruined them."""
        return "a program that keeps numbers as doubles" if self._are_doubles else "a spreadsheet"

    @property
    def _are_doubles(self) -> bool:
        return self.doubles > max(_FEW, self.all / 2)

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


def thread_of(value: object) -> str | None:
    """What tells a thread from others, of any form; None where it names none, or lost its digits in
    a spreadsheet: strangers would be in one."""
    text = _id_text(value)
    return None if text.lower() in _NO_ID or _SCIENTIFIC.fullmatch(text) else text


def _is_as_double(text: str) -> bool:
    """Whether it is what JavaScript makes of a number of 19 digits: the fewest digits, 17 of them,
    that tell its double from others, and zeros. Of other ids one in 400 is so."""
    found = _SEVENTEEN.fullmatch(text)
    return found is not None and repr(float(text)).replace(".", "").startswith(f"{found[1]}e")


def _id_text(value: object) -> str:
    """Without what pandas (`3.0`) and spreadsheet users (`'12`) put to it."""
    value = plain(value) if isinstance(value, dict) else value
    text = "" if value is None else str(value).strip().removeprefix("'")
    found = _FLOAT.fullmatch(text) if "." in text else None
    return found[1] if found else text
