"""What clients see of an analyser's whole answer, which is stored as JSON for debugging."""

import json
from collections.abc import Mapping
from typing import Any

SHOWN: tuple[str, ...] = ()
"""Keys that join `grok_analysis` wherever an insight is shown, where the answer has them."""


def shown_details(stored: str) -> Mapping[str, Any]:
    """Those of `SHOWN` that are in an analyser's stored answer, which is JSON."""
    if not SHOWN or not any(f'"{name}"' in stored for name in SHOWN):
        return {}  # reading all of them as JSON would double the cost of a page
    found = json.loads(stored)
    return {name: found[name] for name in SHOWN if name in found}
