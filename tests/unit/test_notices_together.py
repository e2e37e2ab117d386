"""Several messages in one: within every limit, and nothing of any is missing that fits."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from analysis.messages import MOST_TOGETHER, Message, MessageType, id_of
from notices import discord, slack, teams
from notices.fitting import units
from notices.mail import compose
from notices.wording import Tone, words_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
OPENED, CLOSED = MessageType.ALERT_OPENED, MessageType.ALERT_CLOSED
LINK = "https://insights.example.com/dashboard?cluster=delivery_problems"

Body = Callable[..., bytes]


def alert(number: int, type_: MessageType = OPENED, **changed: Any) -> Message:
    evidence = {
        "count": 40 + number,
        "authors": 31,
        "words": ["parcel", "late"],
        "conversations": [f"conv_0000000{number}"],
        "link": f"{LINK}&n={number}",
        **changed.pop("evidence", {}),
    }
    data = {
        "rule": f"Rule {number}",
        "kind": "count",
        "opened_at": "2026-03-04T05:00:00Z",
        "closed_at": "2026-03-04T06:30:00Z" if type_ is CLOSED else None,
        "evidence": evidence,
        **changed,
    }
    return Message(f"msg_{number}", type_, data, f"alrt_{number:08x}")


def machine() -> Message:
    return Message("msg_m", MessageType.MACHINE, {"sentence": "The disk is nearly full."})


FULL = {
    "<&>": "<&>" * 3000,
    "quoted": '"\\\n{}' * 3000,
    "wide": "\u4f60" * 3000,
    "emoji": "\U0001f600" * 3000,
    "marks": "*_`[<@" * 3000,
}


def full(text: str) -> list[Message]:
    """As many as go together, with too much of everything in each."""
    evidence = {
        "count": 10**12,
        "words": [text[:300]] * 5,
        "conversations": [text[:300]] * 3,
        "texts": [text[:300]] * 40,
        "link": f"{LINK}&q={'a' * 180}",
    }
    return [
        alert(number, rule=text, held_back=text, evidence=evidence)
        for number in range(MOST_TOGETHER)
    ]


@pytest.mark.parametrize("text", FULL.values(), ids=FULL)
def test_as_many_as_go_together_fit_into_each_shape(text: str) -> None:
    said = slack.body(*full(text)).decode()
    assert units(said) <= 13_000
    _header, *sections = json.loads(said)["blocks"]
    assert len(sections) < 50
    assert all(1 <= units(each["text"]["text"]) <= 3000 for each in sections)

    said = teams.body(*full(text)).decode()
    assert 2 * units(said) <= 28_000
    assert len(said.encode()) <= 28_000

    embeds = json.loads(discord.body(*full(text)))["embeds"]
    assert len(embeds) == MOST_TOGETHER
    assert sum(units(each["title"]) + units(each["description"]) for each in embeds) <= 6000
    assert all(units(each["title"]) <= 256 for each in embeds)


@pytest.mark.parametrize("body", [slack.body, teams.body, discord.body])
def test_a_chat_is_told_of_each_what_there_is_to_know(body: Body) -> None:
    messages = [alert(1, evidence={"texts": ["where is it"]}), alert(2, CLOSED), machine()]
    said = body(*messages).decode().replace("\\\\", "")

    for fact in (
        *("1 message about the service, 1 alert, 1 over", "Alert: Rule 1", "Over: Rule 2"),
        *("41 posts, since 2026-03-04 05:00 UTC", "2026-03-04 06:30 UTC", "Authors: 31"),
        *("Words: parcel, late", "conv_00000001", "conv_00000002", "where is it"),
        *("The service needs somebody", "The disk is nearly full."),
    ):
        assert fact in said
    for number in (1, 2):
        assert f"&n={number}" in said or f"&amp;n={number}" in said


@pytest.mark.parametrize("body", [slack.body, teams.body])
def test_a_link_that_is_too_long_for_one_of_many_is_left_out(body: Body) -> None:
    long = f"{LINK}&q={'a' * 400}"
    assert long in json.loads(json.dumps(body(alert(1, evidence={"link": long})).decode())).replace(
        "&amp;", "&"
    )
    assert "a" * 400 not in body(alert(1, evidence={"link": long}), alert(2)).decode()


def test_what_opens_is_an_alarm_and_what_only_ends_is_none() -> None:
    assert words_of(alert(1), alert(2, CLOSED)).tone is Tone.ALARM
    over = words_of(alert(1, CLOSED), alert(2, CLOSED))
    assert (over.title, over.tone) == ("2 over", Tone.CALM)


def test_a_mail_tells_each_in_full_and_is_no_copy_of_a_mail_with_fewer() -> None:
    sent: dict[str, Any] = {"sender": "a@example.com", "to": "team@example.com", "at": NOW}
    messages = [alert(1), alert(2, CLOSED), machine()]
    mail = compose(*messages, **sent)

    assert mail["Subject"] == "1 message about the service, 1 alert, 1 over"
    assert mail["Message-ID"] == f"<{id_of(messages)}@example.com>"
    assert compose(*messages[:2], **sent)["Message-ID"] != mail["Message-ID"]
    assert compose(messages[0], **sent)["Message-ID"] == "<msg_1@example.com>"
    for kind in ("plain", "html"):
        part = mail.get_body([kind])
        assert part is not None
        said = part.get_content().replace("&amp;", "&")
        for fact in ("Alert: Rule 1", "Over: Rule 2", "The disk is nearly full.", f"{LINK}&n=2"):
            assert fact in said
