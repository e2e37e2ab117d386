"""HTML entities, as the old API of Twitter and exports of help desks have them in plain texts."""

import html
import re
from html.entities import name2codepoint

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,7}));")


def undone(text: str) -> str:
    """Once: `&amp;lt;` is `&lt;`. Of names those of HTML 4 count, and `apos`."""
    return _ENTITY.sub(_sign, text) if "&" in text else text


def _sign(found: re.Match[str]) -> str:
    name = found[1]
    is_known = name is None or name in name2codepoint or name == "apos"
    return html.unescape(found[0]) if is_known else found[0]
