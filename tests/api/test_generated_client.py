"""A client that a generator makes from the OpenAPI document can be read, and it works."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from config import Settings
from main import create_app
from tests.support.http_helpers import ScriptedAnalyser, eventually, served

KEY = "an-admin's-key"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
PACKAGE = "generated_client"
WITHOUT_END = "stream_insights"


@pytest.fixture
def address(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """A service that asks for keys, on a real socket."""
    settings = make_settings(api_keys=f"tests:admin:{DIGEST}", max_text_length=1000)
    with served(create_app(settings, analyser=ScriptedAnalyser())) as address:
        yield address


@pytest.fixture
def generated(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the package that was generated from the document of the running service."""
    (tmp_path / "config.yml").write_text("post_hooks: []\n")  # formatting it is not our subject
    generator = Path(sys.executable).parent / "openapi-python-client"
    # The generator itself would wait for the document for five seconds.
    document = httpx.get(f"{address}/openapi.json", timeout=60)
    (tmp_path / "openapi.json").write_bytes(document.content)
    options = {"path": "openapi.json", "output-path": PACKAGE, "config": "config.yml"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [generator, "generate", "--meta=none", "--fail-on-warning", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / PACKAGE
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def _operations(generated: Path) -> dict[str, ModuleType]:
    """The generated modules, one for each operation, by name."""
    modules = (path.relative_to(generated.parent) for path in generated.glob("api/*/[!_]*.py"))
    return {
        module.stem: importlib.import_module(".".join(module.with_suffix("").parts))
        for module in modules
    }


async def test_a_generated_client_has_the_handlers_names_and_does_the_whole_work(
    address: str, generated: Path
) -> None:
    operations = _operations(generated)
    models: Any = importlib.import_module(f"{PACKAGE}.models")
    clients: Any = importlib.import_module(f"{PACKAGE}.client")

    client = clients.AuthenticatedClient(
        base_url=address, token=KEY, raise_on_unexpected_status=True
    )
    used = set()

    async def call(name: str, *args: Any, **arguments: Any) -> Any:
        return (await call_in_detail(name, *args, **arguments)).parsed

    async def call_in_detail(name: str, *args: Any, **arguments: Any) -> Any:
        used.add(name)
        return await operations[name].asyncio_detailed(*args, client=client, **arguments)

    async with client:
        text = models.ConversationIn(text="My parcel is late.", author="ana")
        first = await call("submit_conversation", body=text, idempotency_key="once")
        again = await call("submit_conversation", body=text, idempotency_key="once")
        items = [models.BatchItemIn(text=f"Where is parcel {number}?") for number in range(3)]
        batch = await call("submit_batch", body=models.BatchIn(conversations=items))

        assert again.conversation_id == first.conversation_id
        assert batch.accepted == 3

        async def analysed() -> Any:
            found = await call("get_conversation", batch.conversation_ids[-1])
            return found if found.status is models.Status.COMPLETED else None

        found = await eventually(analysed, within=30)
        now = datetime.now(UTC)
        range_ = {"start_time": now - timedelta(hours=1), "end_time": now + timedelta(hours=1)}
        page = await call("list_insights", **range_, limit=2)
        rest = await call("list_insights", **range_, cursor=page.metadata.next_cursor)
        summary = await call("summarise_insights", **range_)

        assert found.text == "Where is parcel 2?"
        assert page.metadata.total_count == summary.totals.count == 4
        assert len(page.insights) + len(rest.insights) == 4
        authors = (await call("list_authors", prefix="an")).authors
        assert [(each.author, each.count) for each in authors] == [("ana", 1)]
        assert (await call("trends", window=models.Window("6h"))).window == "6h"
        completed = (await call("stats")).counts[models.Status.COMPLETED]
        assert (completed.live, completed.bulk) == (1, 3)
        (version,) = await call("list_analysis_versions")
        assert (version.version, version.analyser, version.insights) == (1, "scripted", 4)
        assert (await call("make_backup")).error == "conflict", "there is no folder for it"
        assert (await call("health")).status == "ok"
        assert (await call("ready")).status is models.ReadyStatus.READY
        assert "# TYPE" in await call("metrics")
        assert [each.author for each in (await call("list_authors", **range_)).authors] == ["ana"]
        assert (await call("list_failed")).conversations == []
        assert (await call("retry_failed_conversations")).retried == 0

        wanted = models.PlanFilter(q='"parcel 2"')
        labels = models.PlanInSetType0.from_dict({"sentiment": "positive"})
        kind = models.PlanKind("label")
        plan = await call(
            "make_plan", body=models.PlanIn(kind=kind, filter_=wanted, set_=labels, by="ben")
        )
        assert plan.matched == 1
        await call("apply_plan", plan.plan_id)

        async def applied() -> bool:
            state = (await call("get_plan", plan.plan_id)).state
            return state is models.PlanState.APPLIED

        await eventually(applied, within=30)
        assert (await call("undo_plan", plan.plan_id)).state is models.PlanState.UNDOING
        assert len((await call("list_plans")).plans) == 1

        claim = models.HandlingIn(state=models.HandlingState.CLAIMED, by="ana")
        claimed = await call("handle_conversation", first.conversation_id, body=claim)
        assert (claimed.state, claimed.by) == (models.HandlingState.CLAIMED, "ana")
        record = await call("get_handling", first.conversation_id)
        assert [(entry.by, entry.key) for entry in record.history] == [("ana", "tests")]

        right = models.LabelIn(by="ana", sentiment=models.Sentiment.NEUTRAL)
        item = await call("label_conversation", first.conversation_id, body=right)
        assert (item.labelled.by.value, item.labelled.name) == ("person", "ana")
        labels = await call("get_labels", first.conversation_id)
        assert (labels.effective.sentiment_score, len(labels.log)) == (0.0, 1)
        taken = await call_in_detail("take_labels_back", first.conversation_id, by="ben")
        assert taken.status_code == 204

        new = models.RuleIn(
            name="late",
            filter_=models.RuleFilter(q="late"),
            set_=models.RuleSet(sentiment=models.Sentiment.NEUTRAL),
        )
        rule = await call("create_rule", body=new)
        await call("change_rule", rule.rule_id, body=models.RulePatch(enabled=False))
        assert not (await call("get_rule", rule.rule_id)).enabled
        assert [each.name for each in (await call("list_rules")).rules] == ["late"]
        assert (await call("delete_rule", rule.rule_id)).take_back.rule_id == rule.rule_id

        hook = models.EndpointIn(
            name="team", kind=models.EndpointKind("standard"), url="https://93.184.215.14/"
        )
        made = await call("create_endpoint", body=hook)
        id_ = made.endpoint_id
        assert (await call("rotate_secret", id_)).secret != made.secret
        await call("change_endpoint", id_, body=models.EndpointPatch(enabled=False))
        assert (await call("send_test", id_)).error == "conflict"
        assert (await call("get_endpoint", id_)).disabled_reason
        assert (await call("enable_endpoint", id_)).enabled
        assert (await call("list_deliveries", id_)).deliveries == []
        hours = models.RetryIn(from_=range_["start_time"], to=now)
        assert (await call("retry_deliveries", id_, body=hours)).retried == 0
        assert (await call("retry_delivery", id_, "1")).error == "not_found"
        assert [each.name for each in (await call("list_endpoints")).endpoints] == ["team"]
        assert (await call_in_detail("delete_endpoint", id_)).status_code == 204

        many = models.AlertRuleIn(name="many", kind=models.RuleKind("count"), above=3)
        watched = (await call("create_alert_rule", body=many)).rule_id
        await call("change_alert_rule", watched, body=models.AlertRulePatch(hold=2))
        assert (await call("get_alert_rule", watched)).hold == 2
        assert [each.name for each in (await call("list_alert_rules")).rules] == ["many"]
        assert (await call("try_alert_rule", watched)).rule_id == watched
        assert (await call("list_alerts")).metadata.open_count == 0
        unknown = "alrt_00000000"
        seen = await call("acknowledge_alert", unknown, body=models.AcknowledgeIn(by="ana"))
        muted = await call("mute_alert", unknown, body=models.MuteIn(hours=1))
        assert (seen.error, muted.error) == ("not_found", "not_found")
        assert (await call_in_detail("delete_alert_rule", watched)).status_code == 204
        assert (await call("get_report")).period == "day"

        refused = await call("retry_conversation", first.conversation_id)
        assert isinstance(refused, models.ErrorOut)
        assert refused.error == "conflict"
        export = await call_in_detail("export_insights", **range_)
        assert export.content.count(b"parcel") == 4
        erased = await call_in_detail("erase_conversation", first.conversation_id)
        assert erased.status_code == 204
        gone = await call("get_conversation", first.conversation_id)
        assert gone.error == "not_found"

    stranger = clients.Client(base_url=address)
    async with stranger:
        unauthorized = await operations["stats"].asyncio(client=stranger)
    assert unauthorized.error == "unauthorized"
    async with httpx.AsyncClient(base_url=address, timeout=30) as plain:
        document = (await plain.get("/openapi.json")).json()
    ids = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert operations.keys() == ids
    assert used == ids - {WITHOUT_END}
