"""What people wrote, in messages: it goes when a delivery is over, and with its conversation."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, cast, or_, select, update

from analysis.messages import MessageType
from analysis.report import to_html, to_lines, to_markdown
from models import conversations
from tables.alerts import deliveries, endpoints

_KEPT_OF_A_REPORT = ("period", "ending", "link")
_COLUMNS = deliveries.c

_WITH_TEXTS = or_(
    _COLUMNS.type == MessageType.REPORT.value, cast(_COLUMNS.data, Text).contains('"texts"')
)
_WRITE = update(deliveries).where(_COLUMNS.id == bindparam("of_id")).values(data=bindparam("less"))
# Before their deliveries, as whoever settles one does.
_LOCK = (
    select(endpoints.c.id)
    .where(endpoints.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(endpoints.c.id)
    .with_for_update(key_share=True)
)


def without_texts(type_: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data of a message that is not to be sent again by itself."""
    if type_ == MessageType.REPORT:
        return {name: data[name] for name in _KEPT_OF_A_REPORT if name in data}
    evidence = data.get("evidence")
    if not isinstance(evidence, Mapping) or "texts" not in evidence:
        return data
    return {**data, "evidence": {n: v for n, v in evidence.items() if n != "texts"}}


def forget_texts(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    """Of the deliveries that meet these."""
    found = select(_COLUMNS.id, _COLUMNS.type, _COLUMNS.data).where(*conditions, _WITH_TEXTS)
    _write(
        [
            (row.id, row.data, without_texts(row.type, row.data))
            for row in connection.execute(found)
        ],
        connection,
    )


def forget_conversations(ids: Collection[str], connection: Connection) -> None:
    """What is still to be sent is sent without what they said."""
    wanted = (
        select(_COLUMNS.id, _COLUMNS.endpoint_id, _COLUMNS.type, _COLUMNS.data)
        .where(_COLUMNS.next_at.is_not(None), _WITH_TEXTS)
        .order_by(_COLUMNS.id)
    )
    naming = {
        row.endpoint_id for row in connection.execute(wanted) if _without(row, ids) is not row.data
    }
    if naming:
        lock_endpoints(naming, connection)
        found = connection.execute(wanted.with_for_update()).all()
        _write([(row.id, row.data, _without(row, ids)) for row in found], connection)


def lock_endpoints(ids: Collection[str], connection: Connection) -> None:
    connection.execute(_LOCK, {"ids": list(ids)}).all()


def _without(row: Any, ids: Collection[str]) -> Mapping[str, Any]:
    """The very same where it names none of them."""
    data: Mapping[str, Any] = row.data
    if row.type != MessageType.REPORT:
        evidence = data.get("evidence") or {}
        named = set(evidence.get("conversations") or ())
        return data if named.isdisjoint(ids) else without_texts(row.type, data)
    return _report_without(data, ids)


def without_erased(data: Mapping[str, Any], connection: Connection) -> Mapping[str, Any]:
    """The data of a message with a report, about to be written, without the conversations that were
    erased since it was made."""
    summary = data["summary"]
    named = {each["conversation_id"] for each in summary["oldest_unanswered"]}
    named.update(*(each["examples"] for each in summary["rising"]))
    return _report_without(data, gone_of(named, connection))


def _report_without(data: Mapping[str, Any], ids: Collection[str]) -> Mapping[str, Any]:
    """The very same where it names none of them."""
    summary = data.get("summary") or {}
    shown, rising = summary.get("oldest_unanswered") or [], summary.get("rising") or []
    left = [each for each in shown if each["conversation_id"] not in ids]
    risen = [
        {**each, "examples": [id_ for id_ in each["examples"] if id_ not in ids]} for each in rising
    ]
    if (left, risen) == (shown, rising):
        return data
    less = {**summary, "oldest_unanswered": left, "rising": risen}
    told = {"markdown": to_markdown(less), "html": to_html(less), "lines": to_lines(less)}
    return {**data, **told, "summary": less}


def gone_of(ids: Collection[str], connection: Connection) -> set[str]:
    """Conversations that are erased, or being erased; nobody erases the others before this
    transaction ends."""
    return set(ids).difference(connection.scalars(_THERE, {"ids": list(ids)})) if ids else set()


_THERE = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    .with_for_update(read=True, key_share=True, skip_locked=True)
)


def _write(
    found: Sequence[tuple[int, Mapping[str, Any], Mapping[str, Any]]], connection: Connection
) -> None:
    changed = [{"of_id": id_, "less": less} for id_, data, less in found if less is not data]
    if changed:
        connection.execute(_WRITE, changed)
