"""A bare HTTP client of the fake Grok, which sends what `grok_client` would."""

import json
from typing import Any

import httpx

from tests.fakes.grok.models import DEFAULT_MODEL
from tests.fakes.grok.server import FakeGrok

TEXTS = {"a": "Thanks, I love it", "b": "The parcel is late and broken"}


def chat(texts: dict[str, str] = TEXTS, **overrides: Any) -> dict[str, Any]:
    """The body of a request that asks for a judgement of each text."""
    conversations = [{"id": identity, "text": text} for identity, text in texts.items()]
    schema = {
        "type": "object",
        "properties": {
            "results": {
                "type": "array",
                "items": {"type": "object", "properties": {"id": {"enum": list(texts)}}},
            }
        },
    }
    return {
        "model": DEFAULT_MODEL,
        "messages": [
            {"role": "system", "content": 'Judge each text of {"conversations": [..]}. ' * 20},
            {"role": "user", "content": json.dumps({"conversations": conversations})},
        ],
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "insights", "schema": schema, "strict": True},
        },
        **overrides,
    }


class Caller:
    """A client of one fake."""

    def __init__(self, client: httpx.AsyncClient, grok: FakeGrok) -> None:
        self.client = client
        self.grok = grok

    async def ask(self, body: Any = None, **options: Any) -> httpx.Response:
        if "content" not in options:
            options["json"] = chat() if body is None else body
        return await self.client.post(f"{self.grok.base_url}/chat/completions", **options)
