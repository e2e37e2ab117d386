"""What is logged, and what never is: no text of a tweet above debug, no key at all."""

import dataclasses
import hashlib
import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog

from store.plans.plan import PlanState
from tests.conftest import StartApp
from tests.fakes.grok.answer import KEY_ID, TEAM_ID
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    ScriptedAnalyser,
    all_done,
    captured_log,
    completed,
    eventually,
    grok_settings,
    in_status,
    locked_by_another,
    run_sql,
    submit,
    submit_batch,
)

MARK = "zebrafinch"
API_KEY = "inbound-key-of-a-team"
API_KEYS = f"team:admin:{hashlib.sha256(API_KEY.encode()).hexdigest()}"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


# --- lines ----------------------------------------------------------------------------------------


async def test_every_line_is_one_json_object_with_event_level_and_time(
    start_app: StartApp,
) -> None:
    with captured_log() as log:
        async with start_app() as running:
            await running.client.get("/a%0Ab%22%7B")
            await running.client.post(CONVERSATIONS, content=b"\xff{")
            logging.getLogger("some.library").warning("line one\nline two")
            structlog.get_logger("x").info("odd_values", value={1, 2}, text="a\nb")

    assert log.events
    for event in log.events:
        assert {"event", "level", "timestamp"} <= set(event)
        assert event["level"] in ("info", "warning")
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    (library,) = [event for event in log.events if event.get("logger") == "some.library"]
    assert library["event"] == "line one\nline two"


async def test_a_line_tells_the_moment_to_the_microsecond() -> None:
    with captured_log() as log:
        before = datetime.now(UTC)
        structlog.get_logger("x").info("now")
        after = datetime.now(UTC)

    (event,) = log.events
    assert re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{6}Z", event["timestamp"])
    assert before <= datetime.fromisoformat(event["timestamp"]) <= after


async def test_each_request_has_one_line_with_its_id_and_outcome(start_app: StartApp) -> None:
    async with start_app() as running:
        with captured_log() as log:
            posted = await running.client.post(
                CONVERSATIONS, json={"text": "a"}, headers={"X-Request-ID": "mine"}
            )
            missed = await running.client.delete(f"{CONVERSATIONS}/conv_00000000?x=secret")

    lines = log.named("request")
    assert [line["request_id"] for line in lines] == ["mine", missed.headers["x-request-id"]]
    assert [(line["method"], line["status"]) for line in lines] == [("POST", 202), ("DELETE", 404)]
    assert lines[0]["path"] == CONVERSATIONS
    assert lines[1]["path"] == f"{CONVERSATIONS}/conv_00000000"
    assert all(0 <= line["ms"] < 10_000 for line in lines)
    assert posted.status_code == 202


async def test_an_analysis_has_one_line_that_names_its_conversation(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        with captured_log() as log:
            id_ = await submit(running.client)
            await eventually(lambda: log.named("conversation_completed"))

    (line,) = log.named("conversation_completed")
    assert (line["id"], line["attempts"], line["fallback"]) == (id_, 1, False)


async def test_a_quiet_level_logs_only_what_is_wrong(start_app: StartApp) -> None:
    async with start_app() as running:
        with captured_log(level="error") as log:
            await running.client.get("/health")
            await running.client.get("/nothing")

    assert log.getvalue() == ""


async def test_people_get_lines_that_read_well(start_app: StartApp) -> None:
    async with start_app() as running:
        with captured_log(format="console") as log:
            await running.client.get("/health")

    (line,) = log.getvalue().splitlines()
    assert re.search(r"Z info +request .*path=./health", line)


def test_people_read_what_a_state_stands_for() -> None:
    with captured_log(format="console") as log:
        structlog.get_logger().info("plan_is_through", state=PlanState.APPLIED, changed=2)

    assert log.getvalue().endswith(" plan_is_through state='applied' changed=2\n")


async def test_a_full_disk_under_the_log_stops_no_request(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_app() as running:
        with captured_log() as log:

            def write(_text: str) -> int:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(log, "write", write)
            response = await running.client.get("/health")
            await completed(running.client)

    assert response.status_code == 200


async def test_the_start_is_logged_without_the_password_of_the_database(
    start_app: StartApp, postgres_url: str
) -> None:
    url = postgres_url.replace("postgres@", "postgres:hunter2@")
    with captured_log() as log:
        async with start_app(database_url=url):
            pass

    (line,) = log.named("service_started")
    assert (line["analyser"], line["worker"]) == ("offline", True)
    assert line["version"]
    assert "hunter2" not in log.getvalue()


async def test_the_log_says_that_the_offline_analyser_runs(start_app: StartApp) -> None:
    with captured_log() as log:
        async with start_app():
            pass
    with captured_log() as log_of_grok:
        async with FakeGrok() as grok, start_app(**grok_settings(grok)):
            pass

    (line,) = log.named("offline_analyser")
    assert line["level"] == "warning"
    assert log_of_grok.named("offline_analyser") == []


async def test_an_ordinary_life_logs_no_error(start_app: StartApp) -> None:
    with captured_log(level="debug") as log:
        async with FakeGrok() as grok, start_app(**grok_settings(grok)) as running:
            await submit_batch(running.client, ["one", "two", "three"])
            await all_done(running.client)
            await running.client.get("/metrics")

    assert [event for event in log.events if event["level"] in ("error", "critical")] == []
    assert log.named("service_stopped")


# --- what is never logged -------------------------------------------------------------------------


def assert_keeps_secrets(log: str) -> None:
    assert MARK not in log.lower()
    assert GOOD_KEY not in log
    assert API_KEY not in log
    assert API_KEYS.rpartition(":")[2] not in log
    assert not UUID.search(log), UUID.search(log)


def _marked(part: str) -> dict[str, Any]:
    return {
        "text": f"{MARK} text {part}",
        "author": f"{MARK} author",
        "raw_data": {f"{MARK} key": f"{MARK} value"},
        "timestamp": "2025-01-20T10:00:00Z",
    }


async def test_no_text_and_no_key_is_logged_whatever_grok_answers(start_app: StartApp) -> None:
    replies = {
        "good": Reply.ok(),
        "fenced": Reply.fenced(),
        "garbage": Reply.garbage(f"{MARK} {GOOD_KEY}"),
        "refusal": Reply.refusal(f"I will not speak of this, team {TEAM_ID}"),
        "violation": Reply.content_violation(tail=True),
        "overflow": Reply.context_overflow(),
        "deserialize": Reply.wrong_type(),
        "rate": Reply.rate_per_second(retry_after=0),
    }
    with captured_log(level="info") as log:
        async with FakeGrok(key=GOOD_KEY) as grok:
            for needle, reply in replies.items():
                grok.when_text(needle, reply, times=1 if needle == "rate" else None)
            settings = grok_settings(grok, api_keys=API_KEYS, grok_rate_limit=100)
            async with start_app(**settings) as running:
                running.client.headers["X-API-Key"] = API_KEY
                await submit_batch(running.client, [_marked(needle) for needle in replies])
                stats = await all_done(running.client)
    assert stats["counts"]["failed"]["bulk"] == 4
    assert stats["counts"]["completed"]["bulk"] == 4
    assert len(log.named("conversation_failed")) == 4
    assert log.named("grok_rate_limited")
    assert_keeps_secrets(log.getvalue())


async def test_no_key_is_logged_when_grok_refuses_it_and_repeats_it(start_app: StartApp) -> None:
    sentence = f"Incorrect API key provided: {GOOD_KEY}. Team {TEAM_ID}, API key ID: {KEY_ID}."
    with captured_log(level="debug") as log:
        async with FakeGrok() as grok:
            grok.default = Reply.status(400, sentence)
            async with start_app(**grok_settings(grok)) as running:
                await submit(running.client)
                await eventually(lambda: log.named("breaker_opened"))
                stats = (await running.client.get(STATS)).json()

    (line,) = log.named("breaker_opened")
    assert line["level"] == "error"
    assert "Incorrect API key" in line["reason"]
    assert_keeps_secrets(log.getvalue())
    assert_keeps_secrets(json.dumps(stats))


async def test_no_text_and_no_key_is_logged_with_a_refused_request(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False, max_body_bytes=2000) as running:
        client = running.client
        with captured_log(level="info") as log:
            bad = [
                {**_marked("a"), "timestamp": MARK},
                {**_marked("a"), "text": MARK * 500},
                {"text": [MARK]},
                {**_marked("a"), "raw_data": MARK},
                {MARK: MARK},
            ]
            for body in bad:
                for key in (API_KEY, f"{API_KEY}x"):
                    await client.post(CONVERSATIONS, json=body, headers={"X-API-Key": key})
            headers = {"Authorization": f"Bearer {API_KEY}"}
            await client.post(CONVERSATIONS, content=f"{{{MARK}", headers=headers)
            await client.get(
                INSIGHTS, params={**ALL_TIME, "author": MARK, "sentiment": MARK}, headers=headers
            )

    assert len(log.named("request")) == 12
    assert_keeps_secrets(log.getvalue())


class _BrokenStore:
    async def accept(self, *_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("a bug")


async def test_a_bug_in_a_request_is_logged_without_the_text_that_met_it(
    start_app: StartApp,
) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        state = running.app.state
        state.services = dataclasses.replace(state.services, conversations=_BrokenStore())
        with captured_log(level="info") as log:
            response = await running.client.post(
                CONVERSATIONS, json=_marked("a"), headers={"X-API-Key": API_KEY}
            )

    assert response.status_code == 500
    (line,) = log.named("request_failed")
    assert "a bug" in json.dumps(line)
    assert "api/conversations.py" in json.dumps(line)
    assert_keeps_secrets(log.getvalue())


async def test_a_database_in_disarray_is_logged_without_the_text_it_was_given(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        await run_sql(sqlite_url, "ALTER TABLE conversations RENAME COLUMN body_hash TO gone")
        with captured_log(level="info") as log:
            response = await running.client.post(CONVERSATIONS, json=_marked("a"))

    assert response.status_code == 500
    assert "body_hash" in json.dumps(log.named("request_failed"))
    assert_keeps_secrets(log.getvalue())


async def test_a_bug_in_the_analyser_is_logged_without_the_text_that_met_it(
    start_app: StartApp,
) -> None:
    analyser = ScriptedAnalyser()
    body = _marked("a")
    analyser.script(body["text"], RuntimeError("a bug"))
    with captured_log(level="info") as log:
        async with start_app(analyser=analyser) as running:
            await submit(running.client, **body)
            await eventually(lambda: log.named("analyser_failed"))

    (line,) = log.named("analyser_failed")
    assert "a bug" in json.dumps(line)
    assert_keeps_secrets(log.getvalue())


async def test_a_result_that_cannot_be_written_is_logged_without_the_text(
    start_app: StartApp, sqlite_url: str
) -> None:
    analyser = ScriptedAnalyser()
    analyser.hold(MARK)
    with captured_log(level="info") as log:
        async with start_app(analyser=analyser) as running:
            id_ = await submit(running.client, **_marked("a"))
            await in_status(running.client, id_, "processing")
            await run_sql(sqlite_url, "ALTER TABLE insights RENAME COLUMN reasoning TO gone")
            analyser.let_go(MARK)
            await eventually(lambda: log.named("result_cannot_be_stored"))

    assert "reasoning" in json.dumps(log.named("result_cannot_be_stored"))
    assert_keeps_secrets(log.getvalue())


async def test_a_locked_database_is_logged_without_the_text(
    start_app: StartApp, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)
    async with start_app(worker_enabled=False) as running:
        with captured_log(level="info") as log:
            async with locked_by_another(sqlite_url):
                response = await running.client.post(CONVERSATIONS, json=_marked("a"))

    assert response.status_code == 503
    (line,) = log.named("database_unavailable")
    assert line["level"] == "warning"
    assert "locked" in line["reason"]
    assert_keeps_secrets(log.getvalue())


async def test_libraries_log_no_key_at_debug_either(start_app: StartApp) -> None:
    with captured_log(level="debug") as log:
        async with FakeGrok() as grok:
            grok.script(Reply.drop())
            settings = grok_settings(grok, api_keys=API_KEYS)
            async with start_app(**settings) as running:
                running.client.headers["Authorization"] = f"Bearer {API_KEY}"
                await submit(running.client, "one")
                await grok.saw(1)
                await submit(running.client, "two")
                await grok.saw(2)

    for key in (GOOD_KEY, API_KEY):
        assert key not in log.getvalue()
    assert isinstance(running.client, httpx.AsyncClient)


@pytest.mark.parametrize(
    "sign", ["\u202e", "\x85", "\u2028", "\x7f", "\x1b", "\U000e0001", "\ud800"]
)
def test_no_sign_that_a_terminal_obeys_gets_into_a_line(sign: str) -> None:
    with captured_log() as log:
        structlog.get_logger().info("event", path=f"/a{sign}b é 🙂")
    line = log.getvalue().rstrip("\n")
    assert line.isprintable()
    if sign != "\ud800":
        assert log.events[0]["path"] == f"/a{sign}b é 🙂"
        assert "é 🙂" in line
