"""What is told to endpoints, before it takes the shape of any of them. Pure.

`data` is JSON: times in it are ISO 8601 in UTC with `Z`. Its shape by type:

    alert.opened,     alert_id, rule_id, rule (its name), kind, key, state, opened_at, closed_at,
    alert.closed      peak, held_back, and evidence: count, expected, score, share, authors,
                      copies (a share), suspected, words (5), conversations (3 ids),
                      texts (where the rule asks for them), link
    machine           alert_id, key, state (open or closed), sentence, since
    report            period, ending, markdown, html, lines (plain text), summary, link
    test              sentence
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import uuid4


class Event(StrEnum):
    """What an endpoint can take."""

    ALERT = "alert"
    REPORT = "report"
    MACHINE = "machine"


class EndpointKind(StrEnum):
    """Who receives, and so in which shape."""

    STANDARD = "standard"  # Standard Webhooks, signed
    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    EMAIL = "email"


class MessageType(StrEnum):
    ALERT_OPENED = "alert.opened"
    ALERT_CLOSED = "alert.closed"
    REPORT = "report"
    MACHINE = "machine"
    TEST = "test"


TOLD_TOGETHER = (MessageType.ALERT_OPENED, MessageType.ALERT_CLOSED, MessageType.MACHINE)
MOST_TOGETHER = 10
"""Messages that go to one endpoint as one: so many fit into each shape."""


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is the `webhook-id`: the same at every try and to every endpoint, and at most 40
    characters. `alert_id` is of those about an alert."""

    id: str
    type: MessageType
    data: Mapping[str, Any]
    alert_id: str | None = None


def with_whole_links(message: Message, public_url: str | None) -> Message:
    """The message with its links begun by where people reach the service; as it is without."""
    if public_url is None:
        return message

    def whole(facts: Mapping[str, Any]) -> dict[str, Any]:
        link = facts.get("link")
        if not (isinstance(link, str) and link.startswith("/")):
            return dict(facts)
        return {**facts, "link": public_url.rstrip("/") + link}

    data = whole(message.data)
    if isinstance(evidence := data.get("evidence"), Mapping):
        data["evidence"] = whole(evidence)
    return replace(message, data=data)


def go_together(kind: EndpointKind, type_: MessageType) -> bool:
    """Whether people are told of it in one message with others like it. A program is told of each
    by itself, and finds it by its id."""
    return kind is not EndpointKind.STANDARD and type_ in TOLD_TOGETHER


def id_of(messages: Sequence[Message]) -> str:
    """Of all that goes to an endpoint at once: another one where anything else goes with it."""
    if len(messages) == 1:
        return messages[0].id
    ids = " ".join(message.id for message in messages)
    return f"msg_{sha256(ids.encode()).hexdigest()[:32]}"


def new_message_id() -> str:
    return f"msg_{uuid4().hex}"
