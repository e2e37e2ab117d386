"""The marks that our own export puts into the cells of a CSV, taken out again.

`api/exports.py` puts an apostrophe where a cell, or a part of one that a spreadsheet could take for
a cell, would begin as a formula; also where it already begins with apostrophes before such a sign.
So exactly one apostrophe goes from each of these places, and the author's own stay.
"""

import re
from typing import Any

MARKED = re.compile("^'(?=[\"']*[=+\\-@＝＋－＠\t\r\n])|(?<=[;\t\r\n])'(?=[\"']*[=+\\-@＝＋－＠])")


def unmarked(value: Any) -> Any:
    """A cell as it was before the export; other values as they are."""
    return MARKED.sub("", value) if isinstance(value, str) and "'" in value else value
