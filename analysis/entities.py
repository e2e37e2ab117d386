"""HTML entities, as the old API of Twitter and exports of help desks have them in plain texts."""

import html
import re

_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")


def undone(text: str) -> str:
    """Once: `&amp;lt;` is `&lt;`. Names that a reader would not expect in a text stay."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text
