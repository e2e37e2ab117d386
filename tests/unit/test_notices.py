"""Messages in the shapes of their receivers: within every limit, harmless whatever is in them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from analysis.messages import Message, MessageType, new_message_id, with_whole_links
from notices import discord, slack, standard, teams
from notices.fitting import fit, fit_lines, units
from notices.mail import compose
from notices.signing import new_secret, signed_headers
from notices.wording import words_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

# --- messages of all sizes, with all that could be in them ----------------------------------------

NASTY = [
    "<!channel> <@U123> <http://evil|your bank>",
    "@everyone [click](http://evil) **bold** ||spoiler|| `code`",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "{{DATE(2017-02-14T06:08:39Z, SHORT)}} ${name} <at>Boss</at>",
    "line\r\nBcc: everybody@example.com\r\n\r\nbody",
    "\x00\x07\x1b[31m\u202eabc\ud800\u2028",
    "&amp; &lt; \\ \" '",
    "😀" * 500,
    "<>&" * 3000,
    '"\\\n' * 3000,
]
TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(NASTY),
    st.builds(
        lambda text, times: text * times, st.text(min_size=1, max_size=5), st.integers(0, 9000)
    ),
)
NUMBER = st.one_of(st.none(), st.integers(-(10**12), 10**12), st.floats())
EVIDENCE = st.fixed_dictionaries(
    {
        "count": NUMBER,
        "expected": NUMBER,
        "score": NUMBER,
        "share": NUMBER,
        "authors": NUMBER,
        "copies": NUMBER,
        "suspected": NUMBER,
        "words": st.lists(TEXT, max_size=5),
        "conversations": st.lists(TEXT, max_size=3),
        "link": st.one_of(st.none(), TEXT, st.just("https://insights.example.com/d?cluster=a&b=c")),
    },
    optional={"texts": st.lists(TEXT, max_size=40)},
)
ALERT = st.fixed_dictionaries(
    {
        "alert_id": st.just("aler_00000001"),
        "rule_id": st.just("arul_00000001"),
        "rule": TEXT,
        "kind": st.sampled_from(["rising", "share", "count", "single", "machine"]),
        "key": TEXT,
        "state": st.sampled_from(["open", "closed"]),
        "opened_at": st.just("2026-03-04T05:00:00Z"),
        "closed_at": st.sampled_from([None, "2026-03-04T06:00:00Z"]),
        "peak": NUMBER,
        "held_back": st.one_of(st.none(), TEXT),
        "evidence": EVIDENCE,
    }
)
REPORT = st.fixed_dictionaries(
    {
        "period": st.just("week"),
        "ending": st.just("2026-03-01"),
        "markdown": TEXT,
        "html": TEXT,
        "summary": st.dictionaries(
            TEXT, st.one_of(NUMBER, TEXT, st.lists(TEXT, max_size=5)), max_size=9
        ),
        "link": st.none(),
    }
)
MACHINE = st.fixed_dictionaries(
    {"alert_id": st.none(), "key": TEXT, "sentence": TEXT, "since": st.just("2026-03-04T05:00:00Z")}
)
MESSAGES = st.one_of(
    st.builds(Message, st.just("msg_1"), st.just(MessageType.ALERT_OPENED), ALERT),
    st.builds(Message, st.just("msg_1"), st.just(MessageType.ALERT_CLOSED), ALERT),
    st.builds(Message, st.just("msg_1"), st.just(MessageType.REPORT), REPORT),
    st.builds(Message, st.just("msg_1"), st.just(MessageType.MACHINE), MACHINE),
)


def alert(type_: MessageType = MessageType.ALERT_OPENED, **evidence: Any) -> Message:
    facts = {
        "count": 42,
        "expected": 8.125,
        "score": 6.2,
        "share": 0.8,
        "authors": 31,
        "copies": 0.1,
        "suspected": 0,
        "words": ["parcel", "late"],
        "conversations": ["conv_00000001"],
        "link": "https://insights.example.com/dashboard?cluster=delivery_problems",
    }
    data = {
        "alert_id": "aler_00000001",
        "rule_id": "arul_00000001",
        "rule": "Deliveries",
        "kind": "rising",
        "key": "delivery_problems",
        "state": "open",
        "opened_at": "2026-03-04T05:00:00Z",
        "closed_at": "2026-03-04T06:30:00Z" if type_ is MessageType.ALERT_CLOSED else None,
        "peak": 6.2,
        "held_back": None,
        "evidence": {**facts, **evidence},
    }
    return Message(new_message_id(), type_, data, "aler_00000001")


FULL = alert(texts=["x" * 90] * 400, words=["w" * 500] * 5)
LONG = Message("msg_1", MessageType.REPORT, {"markdown": "x" * 50_000, "html": "x" * 50_000})


def any_message(test: Callable[[Message], None]) -> Callable[[], None]:
    """Those that fill each limit to the brim, and any others."""
    return example(FULL)(example(LONG)(given(MESSAGES)(test)))


thorough = settings(max_examples=30, deadline=None)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [each for inner in value.values() for each in strings(inner)]
    return [each for inner in value for each in strings(inner)] if isinstance(value, list) else []


# --- standard -------------------------------------------------------------------------------------


@thorough
@any_message
def test_a_standard_body_is_valid_json_below_20_kb(message: Message) -> None:
    body = standard.body(message, NOW)

    assert len(body) < 20_000
    said = json.loads(body)
    assert (said["type"], said["timestamp"]) == (message.type, "2026-03-04T05:06:07Z")


def test_a_standard_body_that_fits_is_told_as_it_is() -> None:
    message = alert(texts=["late again", "where is it"])

    assert json.loads(standard.body(message, NOW))["data"] == message.data


def test_a_standard_body_that_does_not_fit_says_how_much_more_there_was() -> None:
    data = json.loads(standard.body(alert(texts=["x" * 3000] * 32), NOW))["data"]

    assert data["evidence"]["texts"][-1] == "and 22 more"
    assert data["rule"] == "Deliveries"


def test_the_page_of_a_report_goes_before_its_words_do() -> None:
    data = {"period": "day", "markdown": "m" * 5000, "html": "h" * 30_000, "summary": {"count": 3}}
    body = standard.body(Message("msg_1", MessageType.REPORT, data), NOW)

    assert json.loads(body)["data"] == {name: data[name] for name in data if name != "html"}


def test_authors_and_copies_of_many_posts_are_told_as_those_of_the_newest() -> None:
    few, many = (dict(words_of(alert(count=number)).facts) for number in (200, 201))

    assert (few["Authors"], few["Copies"]) == ("31", "10 %")
    assert many["Authors among the newest 200"] == "31"
    assert many["Copies among the newest 200"] == "10 %"


def test_what_does_not_count_is_told_beside_the_number_that_does() -> None:
    beside = "42 posts (beside 3 that may be meant to mislead and do not count)"

    assert beside in words_of(alert(suspected=3)).text
    assert "beside" not in words_of(alert()).text


# --- Slack, Teams, Discord ------------------------------------------------------------------------


@thorough
@any_message
def test_slack_takes_it_whatever_is_in_it(message: Message) -> None:
    body = slack.body(message)

    said = json.loads(body)
    assert "`" not in body.decode()
    assert units(body.decode()) <= 13_000
    assert 1 <= len(said["blocks"]) <= 50
    header, *sections = said["blocks"]
    assert 1 <= units(header["text"]["text"]) <= 150
    assert all(1 <= units(each["text"]["text"]) <= 3000 for each in sections)
    for text in strings(said):
        # No tag but the link that is ours, and no `&` that is no escape.
        bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        if bare.startswith("<https://insights.example.com/") and bare.endswith("|Open the page>"):
            bare = bare[1:-1]
        assert not set(bare) & set("<>&")


@thorough
@any_message
def test_teams_takes_it_whatever_is_in_it(message: Message) -> None:
    body = teams.body(message)

    assert 2 * units(body.decode()) <= 28_000
    assert len(body) <= 28_000
    (attachment,) = json.loads(body)["attachments"]
    card = attachment["content"]
    for text in strings(card["body"]):
        assert "{" not in text
        assert "}" not in text
    assert all(block["type"] == "RichTextBlock" for block in card["body"])
    assert all(run["text"] for block in card["body"] for run in block["inlines"])


@thorough
@any_message
def test_discord_takes_it_whatever_is_in_it(message: Message) -> None:
    said = json.loads(discord.body(message))

    assert said["allowed_mentions"] == {"parse": []}
    (embed,) = said["embeds"]
    fields = embed.get("fields", [])
    assert 1 <= units(embed["title"]) <= 256
    assert units(embed.get("description", "")) <= 4096
    assert len(fields) <= 25
    assert all(1 <= units(each["name"]) <= 256 for each in fields)
    assert all(1 <= units(each["value"]) <= 1024 for each in fields)
    shown = [embed["title"], embed.get("description", "")]
    shown += [each["value"] for each in fields]
    assert sum(map(units, shown)) + sum(units(each["name"]) for each in fields) <= 6000
    for text in shown:
        bare = text.replace("\\\\", "")
        for mark in "*_`[<@":
            assert bare.count(mark) == bare.count(f"\\{mark}")


@pytest.mark.parametrize("body", [slack.body, teams.body, discord.body])
def test_a_chat_is_told_what_there_is_to_know(body: Callable[[Message], bytes]) -> None:
    said = body(alert(texts=["late again"])).decode().replace("\\\\", "")

    for fact in ("Deliveries", "42", "8.125", "31", "10 %", "parcel, late", "late again"):
        assert fact in said
    assert "https://insights.example.com/dashboard" in said
    assert "Suspected" not in said


@pytest.mark.parametrize("body", [slack.body, teams.body, discord.body])
def test_texts_that_do_not_fit_are_counted(body: Callable[[Message], bytes]) -> None:
    said = body(alert(texts=["x" * 290] * 40)).decode()

    shown = said.count("x" * 290)
    assert 1 <= shown < 40
    assert f"and {40 - shown} more" in said


def test_the_end_of_an_alert_says_from_when_to_when_it_was() -> None:
    words = words_of(alert(MessageType.ALERT_CLOSED))

    assert words.title == "Over: Deliveries"
    assert words.text == (
        "Delivery problems rising: 42 posts, usually 8.12,"
        " from 2026-03-04 05:00 UTC to 2026-03-04 06:30 UTC."
    )


@pytest.mark.parametrize("link", ["javascript:alert(1)", "/dashboard", "https://a|b", 'https://"'])
def test_a_link_that_is_none_is_left_out(link: str) -> None:
    assert words_of(alert(link=link)).link is None


# --- fitting --------------------------------------------------------------------------------------


@given(TEXT, st.integers(1, 300))
def test_what_is_cut_fits_and_says_so(text: str, limit: int) -> None:
    def double(character: str) -> str:
        return character * 2 if character == "&" else character

    cut = fit(text, limit, double)

    assert units(cut) <= limit
    whole = "".join(map(double, text))
    if units(whole) <= limit:
        assert cut == whole
    else:
        assert cut.endswith("…")
        # No escape is cut in two.
        assert cut[:-1].count("&") % 2 == 0


@given(st.lists(TEXT, max_size=30), st.integers(30, 500))
def test_lines_that_do_not_fit_are_counted(items: list[str], limit: int) -> None:
    clean = [item.replace("\n", " ") for item in items]

    assert units(fit_lines(clean, limit)) <= limit


def test_all_lines_are_there_where_they_fit() -> None:
    assert fit_lines(["a", "b", "c"], 30) == "a\nb\nc"
    assert fit_lines(["a" * 10, "b" * 10, "c" * 10], 24) == "aaaaaaaaaa\nand 2 more"


# --- signatures -----------------------------------------------------------------------------------


def verifies(secret: str, headers: Any, body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_the_signature_is_that_of_standard_webhooks_by_each_secret() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    body = standard.body(alert(texts=["grüße 😀"]), NOW)
    headers = signed_headers([new, old], "msg_1", body, datetime.now(UTC))

    assert headers["webhook-id"] == "msg_1"
    assert [verifies(each, headers, body) for each in (new, old, other)] == [True, True, False]
    assert not verifies(new, headers, body + b" ")
    late = signed_headers([new], "msg_1", body, datetime.now(UTC) - timedelta(minutes=6))
    assert not verifies(new, late, body)


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(20)}

    assert len(secrets) == 20
    assert all(each.startswith("whsec_") and len(each) == 50 for each in secrets)


# --- mail -----------------------------------------------------------------------------------------


@thorough
@any_message
def test_a_mail_can_be_written_and_read_whatever_is_in_it(message: Message) -> None:
    mail = compose(message, sender="insights@example.com", to="team@example.com", at=NOW)

    read = message_from_bytes(mail.as_bytes(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    assert set(read.keys()) == {
        *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted"),
        *("MIME-Version", "Content-Type"),
    }
    assert read["To"] == "team@example.com"
    # Python adds a blank where it folds a line before a word that is not ASCII.
    assert len(" ".join(read["Subject"].split())) <= 150
    plain, html = read.get_body(["plain"]), read.get_body(["html"])
    assert plain is not None
    assert html is not None
    if message.type is not MessageType.REPORT:
        assert "<script" not in html.get_content()
        assert "<img" not in html.get_content()


def test_no_text_or_name_adds_lines_to_a_mail_or_makes_it_long() -> None:
    nasty = "a\r\n\r\nSincerely,\u2028your bank\n" + "x" * 5000
    opened = alert(words=[nasty], texts=[nasty], conversations=[nasty])
    opened = replace(opened, data={**opened.data, "rule": nasty, "key": nasty})
    harmless = alert(words=["a"], texts=["a"], conversations=["a"])
    mail, calm = (
        compose(each, each, sender="a@example.com", to="b@c.de", at=NOW)
        for each in (opened, harmless)
    )

    for kind in ("plain", "html"):
        lines, plain = (
            each.get_body([kind]).get_content().splitlines()  # type: ignore[union-attr]
            for each in (mail, calm)
        )
        assert len(lines) == len(plain)


def test_a_report_is_sent_with_its_own_page() -> None:
    data = {"period": "day", "ending": "2026-03-03", "markdown": "# Day", "html": "<h1>Day</h1>"}
    mail = compose(
        Message("msg_1", MessageType.REPORT, data), sender="a@example.com", to="b@c.de", at=NOW
    )

    plain, html = mail.get_body(["plain"]), mail.get_body(["html"])
    assert plain is not None
    assert plain.get_content() == "# Day\n"
    assert html is not None
    assert html.get_content() == "<h1>Day</h1>\n"
    assert mail["Message-ID"] == "<msg_1@example.com>"


def test_links_begin_with_where_people_reach_the_service() -> None:
    told = Message("msg_1", MessageType.ALERT_OPENED, {"evidence": {"link": "/dashboard?q=a"}})
    report = Message("msg_2", MessageType.REPORT, {"link": "/api/v1/report?period=day"})

    opened = with_whole_links(told, "https://example.com/insights/")
    assert opened.data["evidence"]["link"] == "https://example.com/insights/dashboard?q=a"
    assert b"https://example.com/insights/dashboard?q=a" in slack.body(opened)
    sent = with_whole_links(report, "https://example.com")
    assert sent.data["link"] == "https://example.com/api/v1/report?period=day"
    assert with_whole_links(told, None) is told
