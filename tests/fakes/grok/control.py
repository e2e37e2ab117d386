"""Steering a fake Grok from another process, over HTTP under `/_control/`. Bodies and answers are
JSON; what is wrong with a call is a 400 with `{"error"}`.

GET counters, texts (sent and billed, by text), arrivals and outages (time.monotonic() seconds, one
clock for all processes of a machine), bill, last_request. POST script {"replies": [..]}, when_text
{"needle", "reply", "times"}, defaults {option: value}, down {"mode", "seconds"} ("refuse" takes
this control away too, so it needs seconds), up, reset.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from tests.fakes.grok.completions import Counters
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.wire import Receive, Send, read_body, respond_json

if TYPE_CHECKING:
    from tests.fakes.grok.server import FakeGrok


async def control(grok: FakeGrok, verb: str, method: str, receive: Receive, send: Send) -> None:
    raw = await read_body(receive)
    try:
        body = json.loads(raw or b"{}")
        if not isinstance(body, dict):
            raise TypeError("the body must be a JSON object")
        if method == "GET":
            await respond_json(send, 200, _view(grok, verb))
            return
        await _do(grok, verb, body)
    except (KeyError, TypeError, ValueError) as error:
        await respond_json(send, 400, {"error": f"{type(error).__name__}: {error}"})
    else:
        await respond_json(send, 200, {"ok": True})


async def _do(grok: FakeGrok, verb: str, body: dict[str, Any]) -> None:
    match verb:
        case "script":
            grok.script(*[Reply.named(spec) for spec in body["replies"]])
        case "when_text":
            grok.when_text(body["needle"], Reply.named(body["reply"]), times=body.get("times"))
        case "defaults":
            grok.configure(body)
        case "down" if body.get("mode") == "refuse":
            grok.refuse_soon(float(body["seconds"]))
        case "down":
            seconds = body.get("seconds")
            mode = body.get("mode", "unavailable")
            await grok.down(mode, None if seconds is None else float(seconds))
        case "up":
            await grok.up()
        case "reset":
            grok.reset()
        case _:
            raise KeyError(verb)


def _view(grok: FakeGrok, name: str) -> Any:
    match name:
        case "counters":
            by_text = {"texts_sent", "texts_billed"}
            names = (each.name for each in fields(Counters) if each.name not in by_text)
            return {name: getattr(grok.counters, name) for name in names}
        case "texts":
            return {"sent": grok.counters.texts_sent, "billed": grok.counters.texts_billed}
        case "arrivals":
            return grok.arrivals
        case "outages":
            return grok.outages
        case "bill":
            return [asdict(line) for line in grok.bill]
        case "last_request":
            request = grok.last_request if grok.requests else None
            return request and {"headers": request.headers, "body": request.body}
    raise KeyError(name)
