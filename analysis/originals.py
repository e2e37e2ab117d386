"""Where a post was written, from what came with it."""

import re
from collections.abc import Mapping
from typing import Any

_ADDRESSES = ("url", "permalink", "link", "tweet_url", "permalink_url")
_IDS = ("id_str", "tweet_id", "id")
# By these an id is known to be one of X: v1.1, v2 and the usual exports have one of them.
_OF_X = ("tweet_id", "id_str", "in_response_to_tweet_id", "tweet_created", "public_metrics")
_ADDRESS = re.compile(r"(?i)https?://\S{1,2000}")


def original_address(raw_data: Mapping[str, Any], author: str | None) -> str | None:
    """The address of a post on the web: one that its raw data name, else that of the X post with
    their id. None where neither is known. The dashboard goes by the same rules (`original.js`)."""
    for name in _ADDRESSES:
        address = raw_data.get(name)
        if isinstance(address, str) and _ADDRESS.fullmatch(address):
            return address
    if not re.fullmatch(r"\w{1,15}", author or "", re.ASCII) or not raw_data.keys() & set(_OF_X):
        return None
    for name in _IDS:
        if re.fullmatch(r"[0-9]{5,20}", str(raw_data.get(name, ""))):
            return f"https://x.com/{author}/status/{raw_data[name]}"
    return None
