"""Alert rules as they are stored, and the endpoints that they name."""

import pytest
from sqlalchemy import delete

from database import Database
from errors import Conflict, InvalidInput
from store.alert_rules import AlertRuleStore
from store.endpoints import EndpointStore
from tables.alerts import endpoints
from tests.support.alerts import make_endpoint, make_rule

GONE, OTHER = "ep_00000001", "ep_00000002"


async def test_an_endpoint_that_a_rule_names_is_not_deleted(database: Database) -> None:
    await make_endpoint(database, GONE)
    rule = await make_rule(database, to=[GONE])
    disabled = await make_rule(database, "share", to=[GONE], enabled=False)
    await make_rule(database)
    store = EndpointStore(database)
    with pytest.raises(Conflict, match=f"{rule.id}.*{disabled.id}.*first"):
        await store.delete(GONE)
    for named in (rule, disabled):
        await AlertRuleStore(database).change(named.id, {"to": []})
    await store.delete(GONE)
    assert await store.all() == []


async def test_a_rule_that_names_an_endpoint_that_is_gone_can_be_changed(
    database: Database,
) -> None:
    await make_endpoint(database, GONE)
    await make_endpoint(database, OTHER)
    rule = await make_rule(database, to=[GONE])
    gone = delete(endpoints).where(endpoints.c.id == GONE)
    await database.write(lambda connection: connection.execute(gone).rowcount)
    store = AlertRuleStore(database)
    assert not (await store.change(rule.id, {"to": [GONE], "enabled": False})).enabled
    assert (await store.change(rule.id, {"to": [GONE, OTHER]})).to == [GONE, OTHER]
    with pytest.raises(InvalidInput, match="ep_00000003"):
        await store.change(rule.id, {"to": [OTHER, "ep_00000003"]})
