"""Texts that strangers send cost no more than their length: nothing grows with its square."""

# ruff: noqa: E501
# The units are easier to read in rows.

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from analysis import lenient_json, report, senders
from analysis.fingerprint import as_analysed, fingerprint
from analysis.injection import suspicions
from analysis.labels import Labelling, Values
from analysis.offline.judge import Judge
from analysis.parsing import parse_results, snake_case, storable
from analysis.rules import Post, Rule, RuleBook, RuleFilter
from analysis.standing_out import words_that_stand_out
from analysis.topics import Topics
from analysis.urgency import read_urgency
from analysis.words import parse_search, words_of
from api import alert_bodies
from api.bodies import _explain_bad_json
from api.connection_guard import _HOST, _UPGRADE
from api.exports import _cell
from api.long_json import read_in_pieces
from api.web_pages import WebPages
from config import DEFAULT_CLUSTERS
from errors import InvalidInput
from grok.errors import presentable, told_wait
from importing import (
    cells,
    columns,
    dates,
    delimited,
    json_files,
    labels,
    markup,
    text_repair,
    values,
)
from importing.errors import ImportFailed, RowRejected
from importing.reply_threads import _name
from importing.report import _group
from importing.rows import _check
from notices import addresses, discord, fitting, slack, teams, wording
from notices.addresses import AddressRefused
from runtime.logs import _UNPRINTABLE, _escaped
from runtime.mail_server import is_address
from schemas import _parse_query_time, check_idempotency_key, parse_time
from store import cursors

CHARACTERS = 10_000
SECONDS = 0.1
"""Of this thread's own time: 5 times what is aimed at, and less than a square makes of it."""

UNITS = (
    *"a0 \n\t.,;:@#&<>\"'`()[]{}\\/|*_-+=%$~^!?é😀\x01\u0301\u064b\u202éｱ中",
    "a ", " a", "a.", "a_", "aA", "Aa", "a1", "1a", "0.", "0,", "0:", "0-", "0/", "1e", "1.0", "+1",
    "\r\n", "\n ", " \n", "a\n", "\n\n", "<a", "<!--", "-->", "<a>", "</a>", "<b <", "&amp;", "&#1",
    "&#x", "&a", "\\u00", "\\u0041", "\\\"", "\\\\", "{\"", "{\"a\":", "[[", "[{", "{}", "[]", "\",",
    "\"\"", "'a'", "``", "```json", "<think>", "</think>", "http://", "https://a", "www.", "@a", "@@",
    "@a ", "RT @a: ", "a@a.", "ignore ", "ignore all previous ", "system: ", "you are now ", "i g n ",
    "QUJD", "QUJD=", "a|a", "a3a3", "é ", "😀 ", "👨\u200d👩\u200d", "Ã©", "â€", "ðŸ", "Ã", "2025-01-20",
    "2025-01-20T10:00:00", "Jan ", "Mon, ", "10:00 ", "+00:00", " UTC", "[UTC]", "T1", "T1 ", "1 2 ",
    "***", "xai-", "a***", "org-", "0000-", "resets in: ", "429 ", "problem_", "s_", "ies", "sses",
    "[::", "a:1", "http:", "..", "%00", "=1+", ";=", "\t=", "'=", "\"q\" ", "refun* ", "\"a a\" ",
    "Upgrade:", "\r\nupgrade", "\r\nupgrade ", "- ", "• ", "a, ", "A/", "\ud800",
)  # fmt: skip


def _rule(q: str) -> Rule:
    return Rule(1, "a", RuleFilter(parse_search(q)), Labelling(sentiment_score=0.5))


_RULES = RuleBook([_rule('"a a a a a a"'), _rule("aaa*"), _rule("a1"), _rule("中中中")])

FUNCTIONS: dict[str, Callable[[str], object]] = {
    "suspicions": suspicions,
    "as_analysed": as_analysed,
    "fingerprint": lambda text: fingerprint(text, "key"),
    "snake_case": snake_case,
    "storable": storable,
    "topics": lambda text: Topics(DEFAULT_CLUSTERS).merge([text, snake_case(text)]),
    "a topic that is asked for": lambda text: Topics(DEFAULT_CLUSTERS).listed(text),
    "words": words_of,
    "a search": lambda text: parse_search(text[:1000]),
    "an answer": lambda text: parse_results(text, ["a"]),
    "an answer that begins well": lambda text: parse_results('{"results": [' + text, ["a"]),
    "an answer in prose": lambda text: parse_results(f'so: "{text}" ```json\n{{"a": {text}', ["a"]),
    "an error of Grok's": lambda text: presentable(text, key="xai-secret"),
    "a wait": lambda text: told_wait({"Retry-After": text, "Retry-After-Ms": text}, text),
    "bad JSON": lambda text: _explain_bad_json(
        text.encode("utf-8", "replace"), "recursion limit at line 1 column 9000"
    ),
    "a time": parse_time,
    "a time of a query": _parse_query_time,
    "an idempotency key": check_idempotency_key,
    "a cursor": lambda text: cursors.decode("a list", text),
    "a host": WebPages(()).serves,
    "an origin": lambda text: WebPages(()).may_write("a.test", origin=text, fetch_site=None),
    "an origin's port": lambda text: WebPages(()).may_write(
        "a.test", origin=f"http://{text}", fetch_site=None
    ),
    "a Host header": lambda text: _HOST.fullmatch(text.encode("utf-8", "replace")),
    "an upgrade": lambda text: _UPGRADE.sub(b"", text.encode("utf-8", "replace")),
    "a cell that goes out": _cell,
    "a line of the log": lambda text: _UNPRINTABLE.sub(_escaped, json.dumps(text)),
    "a text that comes in": text_repair.mend,
    "a misread text": text_repair.mend_misread,
    "markup": markup.to_text,
    "a date": lambda text: dates.Dates().read(text),
    "a date's zone": lambda text: dates.Dates().read(f"20 Jan 2025 10:00 {text}"),
    "the order of a date": lambda text: dates.Dates().learn(text),
    "a zone": dates.zone_of,
    "a clock": dates.is_clock,
    "a column's name": lambda text: columns.recognise_export([text]),
    "a header with a zone": columns.zone_in,
    "a row without a header": lambda text: columns.recognise_headerless([text, text]),
    "a marked cell": cells.unmarked,
    "an author": values.author_of,
    "a text in pieces": values.text_in_pieces,
    "a name in a thread": _name,
    "a row's text": _check,
    "a delimiter": lambda text: delimited.sniff(text.splitlines() or [""]),
    "a message's words": wording.clean,
    "a title for Slack": lambda text: fitting.fit(text, 2900, slack.escape, fitting.json_units),
    "a title for Discord": lambda text: fitting.fit(text, 4000, discord.escape),
    "a text for Teams": lambda text: fitting.fit(text, 6000, teams.escape, fitting.json_units),
    "texts for Slack": lambda text: fitting.fit_lines(
        [text] * 20, 2900, slack.escape, fitting.json_units
    ),
    "words that stand out": lambda text: words_that_stand_out([text, text], [text]),
    "a text of a report": lambda text: report._escaped(report._short(text)),
    "a text that rules look at": lambda text: _RULES.labels(
        Post(words_of(text), text, "en", Values(0.0, ("a",), 0.5)), 0
    ),
    "a rule's search": lambda text: RuleBook([_rule(text[:1000])]).labels(
        Post(words_of(text), text, "en", Values(0.0, ("a",), 0.5)), 0
    ),
    "an urgency": read_urgency,
    "an account": senders.account,
    "whose a text is": lambda text: senders.is_outbound({"inbound": text}),
    "how many follow": lambda text: senders.followers_of({"followers": text}),
    "documents of a model": lenient_json.documents,
    "documents that begin well": lambda text: lenient_json.documents(f'{{"a": [{text}'),
    "words for the offline model": lambda text: Judge().judge([text]),
    "a zone's name": alert_bodies._check_zone,
    "a clock's time": alert_bodies._check_clock,
    "a duration": alert_bodies.parse_duration,
    "a URL": lambda text: addresses.parse_url(f"https://{text}"[: addresses.MAX_URL_LENGTH]),
    "a URL's path": lambda text: addresses.parse_url(
        f"https://a.example/{text}"[: addresses.MAX_URL_LENGTH]
    ),
    "a mailbox": is_address,
    "a mailbox's host": lambda text: is_address(f"a@{text}"),
    "long JSON": lambda text: read_in_pieces(text.encode("utf-8", "replace")),
    "long JSON that begins well": lambda text: read_in_pieces(
        f'{{"a": [{text}'.encode("utf-8", "replace")
    ),
    "a file of JSON": lambda text: json_files.looks_like_json([text]),
    "a label": lambda text: labels._by_word(labels.plain_label(text)),
    "a line of a mapping": labels._LINE.fullmatch,
    "a reason of rejection": _group,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_text_of_ten_thousand_characters_is_read_in_no_time(name: str) -> None:
    slow = {}
    for unit in UNITS:
        text = (unit * CHARACTERS)[: CHARACTERS - 1] + "!"
        # What was slow once may have been unlucky.
        if (took := _seconds(FUNCTIONS[name], text)) > SECONDS:
            took = min(took, _seconds(FUNCTIONS[name], text))
        if took > SECONDS:
            slow[unit] = took
    assert not slow


def _seconds(function: Callable[[str], object], text: str) -> float:
    started = time.thread_time()
    with suppress(ValueError, LookupError, InvalidInput, ImportFailed, RowRejected, AddressRefused):
        function(text)
    return time.thread_time() - started
