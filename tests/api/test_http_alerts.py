"""Alert rules, alerts and reports over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from analysis.urgency import Urgency
from tables.alerts import alert_rules
from tests.conftest import RunningApp, StartApp
from tests.support.alerts import make_endpoint, messages
from tests.support.factories import analysis, run_sql
from tests.support.http_helpers import (
    ScriptedAnalyser,
    all_done,
    assert_error,
    eventually,
    submit,
)

RULES = "/api/v1/alert-rules"
ALERTS = "/api/v1/alerts"
REPORT = "/api/v1/report"
COUNT = {"name": "many", "kind": "count", "above": 3}


async def made(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(RULES, json={**COUNT, **body})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def test_a_rule_is_made_with_all_its_defaults(client: httpx.AsyncClient) -> None:
    rule = await made(client)
    assert rule == {
        "rule_id": rule["rule_id"],
        "name": "many",
        "kind": "count",
        "filter": {},
        "window": "1h",
        "above": 3.0,
        "at_least": None,
        "hold": 1,
        "clear": 3,
        "cooldown": "4h",
        "quiet": None,
        "to": [],
        "texts": False,
        "enabled": True,
        "created_at": rule["created_at"],
    }
    one = f"{RULES}/{rule['rule_id']}"
    assert (await client.get(one)).json() == rule
    assert (await client.get(RULES)).json() == {"rules": [rule]}
    assert (await client.delete(one)).status_code == 204
    assert_error(await client.get(one), 404, "not_found")


async def test_what_is_named_is_changed_and_the_rest_stays(client: httpx.AsyncClient) -> None:
    quiet = {"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}
    filter_ = {"cluster": "billing problems", "language": "en", "q": "late"}
    rule = await made(client, quiet=quiet, filter=filter_, cooldown="90m")
    assert rule["filter"] == {**filter_, "cluster": "billing_problems"}
    assert (rule["quiet"], rule["cooldown"]) == (quiet, "90m")
    one = f"{RULES}/{rule['rule_id']}"
    changed = (await client.patch(one, json={"hold": 2, "quiet": None})).json()
    assert changed == {**rule, "hold": 2, "quiet": None}
    changed = (await client.patch(one, json={"filter": {"author": "ann"}, "name": "hers"})).json()
    assert (changed["filter"], changed["name"]) == ({"author": "ann"}, "hers")
    assert_error(await client.patch(one, json={"clear": 0}), 400, "invalid_schema", "clear")
    kind = changed["kind"]
    assert (await client.patch(one, json={"kind": kind})).json() == changed
    for other in ("machine", "nonsense", None):
        refused = await client.patch(one, json={"kind": other})
        assert_error(refused, 400, "invalid_schema", "kind: ")
    for name in ("name", "filter", "hold", "clear", "cooldown", "to", "texts", "enabled"):
        refused = await client.patch(one, json={name: None})
        assert_error(refused, 400, "invalid_schema", f"{name}: must not be null")
    assert (await client.get(one)).json() == changed


async def test_of_two_changes_at_one_moment_none_is_lost(client: httpx.AsyncClient) -> None:
    one = f"{RULES}/{(await made(client))['rule_id']}"
    for number in range(5):
        wanted = {"name": f"name {number}", "enabled": number % 2 == 1, "hold": number + 1}
        asked = (client.patch(one, json={name: value}) for name, value in wanted.items())
        assert {each.status_code for each in await asyncio.gather(*asked)} == {200}
        changed = (await client.get(one)).json()
        assert {name: changed[name] for name in wanted} == wanted


async def test_a_rule_with_a_filter_that_was_once_taken_can_be_switched_off(
    start_app: StartApp,
) -> None:
    async with start_app() as running:
        client, database = running.client, running.app.state.services.database
        rule = await made(client, filter={"language": "en"})
        await run_sql(database, update(alert_rules).values(filter={"language": "eng"}))
        one = f"{RULES}/{rule['rule_id']}"
        changed = await client.patch(one, json={"enabled": False})
        assert changed.json() == {**rule, "filter": {"language": "eng"}, "enabled": False}
        refused = await client.patch(one, json={"filter": {"language": "eng"}})
        assert_error(refused, 400, "invalid_schema", "filter.language")


async def test_a_null_takes_back_what_a_rule_need_not_have(client: httpx.AsyncClient) -> None:
    rule = await made(client, kind="rising", window="6h", at_least=30)
    one = f"{RULES}/{rule['rule_id']}"
    changed = (await client.patch(one, json=dict.fromkeys(("window", "above", "at_least")))).json()
    assert changed == {**rule, "window": "1h", "above": None, "at_least": None}

    count = await made(client)
    refused = await client.patch(f"{RULES}/{count['rule_id']}", json={"above": None})
    assert_error(refused, 400, "invalid_schema", "above: a rule of kind count needs")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"above": None}, "above"),
        ({"above": 0}, "above"),
        ({"kind": "share", "above": 1.5}, "above"),
        ({"kind": "share", "above": 0.5, "filter": {"sentiment": "negative"}}, "filter.sentiment"),
        ({"kind": "single", "above": 2}, "above"),
        ({"kind": "machine"}, "above"),
        ({"kind": "machine", "above": None, "window": "1h"}, "window"),
        ({"kind": "else"}, "kind"),
        ({"window": "2h"}, "window"),
        ({"hold": 0}, "hold"),
        ({"hold": "2"}, "hold"),
        ({"at_least": "20"}, "at_least"),
        ({"filter": {"min_confidence": "0.5"}}, "filter.min_confidence"),
        ({"cooldown": "soon"}, "cooldown"),
        ({"cooldown": "31d"}, "cooldown"),
        ({"to": ["ep_00000000"]}, "to"),
        ({"filter": {"sentiment": "sad"}}, "filter.sentiment"),
        ({"filter": {"start_time": "2025-01-20T00:00:00Z"}}, "filter.start_time"),
        ({"filter": {"q": "!"}}, "filter.q: must hold a word"),
        ({"quiet": {"from": "25:00", "to": "07:00"}}, "quiet.from"),
        ({"quiet": {"from": "22:00", "to": "22:00"}}, "quiet"),
        ({"quiet": {"from": "22:00", "to": "07:00", "zone": "Mars"}}, "quiet.zone"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_mistake_in_a_rule_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await client.post(RULES, json={**COUNT, **body})
    assert_error(response, 400, "invalid_schema", field)


async def test_unknown_ones_are_not_found(client: httpx.AsyncClient) -> None:
    for path in (f"{RULES}/arul_00000000", f"{RULES}/else"):
        assert_error(await client.get(path), 404, "not_found")
        assert_error(await client.patch(path, json={}), 404, "not_found")
        assert_error(await client.delete(path), 404, "not_found")
        assert_error(await client.post(f"{path}/try"), 404, "not_found")
    for path in (f"{ALERTS}/alrt_00000000", f"{ALERTS}/else"):
        acknowledged = await client.post(f"{path}/acknowledge", json={"by": "ana"})
        assert_error(acknowledged, 404, "not_found")
        assert_error(await client.post(f"{path}/mute", json={"hours": 1}), 404, "not_found")


async def opened(running: RunningApp) -> list[dict[str, Any]]:
    await running.app.state.services.alerts.judge({})
    return list((await running.client.get(ALERTS)).json()["alerts"])


async def test_an_alert_is_listed_acknowledged_and_muted(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        client = running.client
        await made(client)
        for author in "abc":
            await submit(client, f"the parcel of {author} is late", author=author)
        await all_done(client)
        (alert,) = await opened(running)
        one = f"{ALERTS}/{alert['alert_id']}"
        assert (alert["state"], alert["peak"], alert["evidence"]["count"]) == ("open", 3.0, 3)

        acknowledged = (await client.post(f"{one}/acknowledge", json={"by": "ana"})).json()
        assert acknowledged["acknowledged_by"] == "ana"
        muted = (await client.post(f"{one}/mute", json={"hours": 2})).json()
        until = datetime.fromisoformat(muted["muted_until"])
        assert timedelta(hours=1.9) < until - datetime.now(UTC) <= timedelta(hours=2)
        heard = (await client.post(f"{one}/mute", json={"hours": 0})).json()
        assert heard["muted_until"] is None
        for hours in (-1, 24 * 91, "x"):
            refused = await client.post(f"{one}/mute", json={"hours": hours})
            assert_error(refused, 400, "invalid_schema", "hours")
        refused = await client.post(f"{one}/acknowledge", json={})
        assert_error(refused, 400, "invalid_schema", "by")

        listed = (await client.get(ALERTS, params={"state": "open"})).json()
        assert [each["alert_id"] for each in listed["alerts"]] == [alert["alert_id"]]
        assert listed["metadata"] == {"open_count": 1, "returned_count": 1, "next_cursor": None}
        assert (await client.get(ALERTS, params={"state": "closed"})).json()["alerts"] == []
        refused = await client.get(ALERTS, params={"cursor": "x"})
        assert_error(refused, 400, "invalid_schema", "cursor")


async def test_a_single_urgent_post_is_told_by_itself(start_app: StartApp) -> None:
    """By the service's own worker, which nobody has asked to look."""
    urgent = analysis(-0.9, urgency=Urgency.NOW)
    async with start_app(analyser=ScriptedAnalyser(answer=lambda _text: urgent)) as running:
        database = running.app.state.services.database
        await make_endpoint(database, enabled=True, target="https://127.0.0.1/")
        await made(running.client, kind="single", above=0.8)
        id_ = await submit(running.client, "I am stranded")
        ((type_, data),) = await eventually(lambda: messages(database))
        assert (type_, data["key"]) == ("alert.opened", id_)


async def test_a_trial_says_what_a_rule_would_have_sent(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        client = running.client
        moment = datetime.now(UTC) - timedelta(days=3)
        for number in range(6):
            at = (moment + timedelta(days=number % 2, seconds=number)).isoformat()
            await submit(client, f"text {number}", author=f"author {number}", timestamp=at)
        await all_done(client)
        for body in ({}, {"filter": {"q": "text"}}, {"filter": {"author": "nobody"}}):
            rule = await made(client, window="15m", **body)
            tried = (await client.post(f"{RULES}/{rule['rule_id']}/try")).json()
            expected = 0 if "author" in body.get("filter", {}) else 2
            assert tried["alerts_count"] == expected
            assert tried["messages"] == 2 * expected
        for kind in ("rising", "machine", "single"):
            above = None if kind == "machine" else 0.9
            window = None if kind == "machine" else "1h"
            rule = await made(client, kind=kind, above=above, window=window)
            tried = (await client.post(f"{RULES}/{rule['rule_id']}/try")).json()
            assert (tried["messages"], tried["alerts"]) == (0, [])


# --- reports --------------------------------------------------------------------------------------


async def test_a_report_is_beside_the_period_before_and_escapes_what_people_wrote(
    start_app: StartApp,
) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        client = running.client
        for day, count in (("19", 2), ("20", 4), ("13", 1)):
            for number in range(count):
                await submit(
                    client,
                    f"<script>alert({number})</script> | [x](y)",
                    author="<b>ann</b>",
                    timestamp=f"2025-01-{day}T10:00:0{number}Z",
                )
        await all_done(client)
        asked = {"period": "day", "ending": "2025-01-20"}
        report = (await client.get(REPORT, params=asked)).json()
        counts = [report[name]["count"] for name in ("totals", "before", "week_earlier")]
        assert counts == [4, 2, 1]
        assert report["topics"][0]["before"] == 2
        assert len(report["oldest_unanswered"]) == 4
        week = (await client.get(REPORT, params={**asked, "period": "week"})).json()
        assert (week["totals"]["count"], week["before"]["count"]) == (6, 1)
        assert week["start_time"] == "2025-01-14T00:00:00Z"

        html = await client.get(REPORT, params={**asked, "format": "html"})
        assert html.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script>" not in html.text
        assert "&lt;script&gt;" in html.text
        assert "<b>" not in html.text
        markdown = await client.get(REPORT, params={**asked, "format": "markdown"})
        assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
        assert r"\<script\>" in markdown.text
        assert r"\| \[x\]" in markdown.text


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"period": "month"}, "period"),
        ({"ending": "yesterday"}, "ending"),
        ({"ending": "0001-01-01"}, "ending"),
        ({"ending": "9999-12-31"}, "ending: must be a date from 1970 to 9998"),
        ({"ending": "1740873600"}, "ending: must be a date"),
        ({"ending": "0"}, "ending: must be a date"),
        ({"ending": "20250302"}, "ending: must be a date"),
        ({"ending": "2025-03-02T00:00:00Z"}, "ending: must be a date"),
        ({"format": "pdf"}, "format"),
    ],
)
async def test_a_mistake_in_asking_for_a_report_names_the_field(
    client: httpx.AsyncClient, asked: dict[str, str], field: str
) -> None:
    assert_error(await client.get(REPORT, params=asked), 400, "invalid_schema", field)


async def test_without_an_ending_it_is_of_yesterday(client: httpx.AsyncClient) -> None:
    report = (await client.get(REPORT)).json()
    today = datetime.now(UTC).date()
    assert report["ending"] in {str(today - timedelta(days=days)) for days in (1, 2)}
    assert report["totals"]["average_sentiment"] is None
