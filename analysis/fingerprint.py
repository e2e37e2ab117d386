"""Which texts are the same to an analyser, and the form in which it sees a text."""

import hashlib
import re
import unicodedata

_HANDLE_OR_URL = re.compile(r"(?<!\w)@\w+|(?:https?://|www\.)\S+", re.IGNORECASE)
_FINGERPRINT_VERSION = "2"
"""Raised with every change to what an analyser sees of a text."""


def as_analysed(text: str) -> str:
    """The text as an analyser sees it: nothing that texts with one fingerprint may differ in can
    decide what an answer says of all of them. Handles are `@user`, links `URL`."""
    text = unicodedata.normalize("NFC", text)
    text = _HANDLE_OR_URL.sub(lambda found: "@user" if found[0][0] == "@" else "URL", text)
    return " ".join(text.split())


def fingerprint(text: str, reuse_key: str) -> str:
    """32 hex digits, equal for texts that differ in @handles, URLs, white space and Unicode form
    (NFC) only, and that are analysed in the same way."""
    text = _HANDLE_OR_URL.sub(" ", unicodedata.normalize("NFC", text))
    key = f"{_FINGERPRINT_VERSION}\0{reuse_key}\0{' '.join(text.split())}"
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
