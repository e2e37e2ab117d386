"""Putting the labels of a conversation right."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request
from pydantic_core import to_json
from starlette.responses import Response
from typing_extensions import TypedDict

from analysis.labels import Label, labelling_of
from api.access import needs
from api.answers import shown
from api.bodies import documented_body, read_short
from api.conversations import PATH, ConversationId
from api.error_responses import answers
from api.event_stream import ChangeSource
from api.insight_answers import InsightOut, ModelValues, insight_item, insight_json, values_item
from api.keys import holder_of, key_name
from api.label_bodies import LabelIn
from api.late_routes import late_router
from api.services import services
from models import from_micros
from schemas import PersonName, ShownTime, built_late
from store.label_history import LabelEntry, LabelStore

router = late_router(tags=["labels"])

_PATH = f"{PATH}/{{conversation_id}}/labels"


class LabelEntryOut(TypedDict):
    """`by` is a person, a rule, or who took a label back."""

    at: ShownTime
    by: str
    before: ModelValues
    after: ModelValues
    reason: str | None


class PersonLabelOut(TypedDict):
    """What a person has said; null is left to rules and the model."""

    sentiment_score: float | None
    clusters: Sequence[str] | None
    by: str
    at: ShownTime
    reason: str | None


@built_late
class LabelsOut(TypedDict):
    """`person` is null where no person has labelled it; `log` is the last 1,000 lines, or as many
    of them as are 2 MB of JSON, the oldest first."""

    effective: ModelValues
    model: ModelValues
    person: PersonLabelOut | None
    log: list[LabelEntryOut]


def label_changes(store: LabelStore) -> ChangeSource:
    """For the stream: an event `label` for each change, with the insight as it is by then."""

    async def since(id_: int) -> Sequence[tuple[int, InsightOut | None]]:
        return [
            (number, None if each is None else insight_item(each))
            for number, each in await store.events_since(id_)
        ]

    return ChangeSource("label", store.newest_event, since)


_ERRORS = answers("not_found", "conflict", "unavailable")


@router.put(
    _PATH,
    response_model=InsightOut,
    responses={**_ERRORS, **answers("invalid_schema")},
    openapi_extra=documented_body(LabelIn),
)
@needs("write")
async def label_conversation(request: Request, conversation_id: ConversationId) -> Response:
    """Say what is right. It has the last word from now on: over the model and over every rule."""
    parts = services(request)
    asked = await read_short(LabelIn, request)
    labelling = labelling_of(asked.named(parts))
    given = await parts.labels.label(conversation_id, labelling, by=asked.by, reason=asked.reason)
    parts.stream.wake()
    return Response(insight_json(given), media_type="application/json")


@router.delete(_PATH, status_code=204, responses={**_ERRORS, **answers("invalid_schema")})
@needs("write")
async def take_labels_back(
    request: Request,
    conversation_id: ConversationId,
    by: Annotated[PersonName | None, Query(description="For the log.")] = None,
) -> Response:
    """Take back what people said: a rule has the last word again, or else the model."""
    parts = services(request)
    await parts.labels.take_back(conversation_id, by=by or key_name(request))
    parts.stream.wake()
    return Response(status_code=204)


@router.get(_PATH, response_model=LabelsOut, responses=_ERRORS)
@needs("read")
async def get_labels(request: Request, conversation_id: ConversationId) -> Response:
    """What is served, what the model said, and what was changed."""
    parts = services(request)
    async with parts.large_reads.hold(holder_of(request)):
        record = await parts.labels.record(conversation_id)
        found: LabelsOut = {
            "effective": values_item(record.effective),
            "model": values_item(record.model),
            "person": _person(record.person),
            "log": [_entry(entry) for entry in record.log],
        }
        return Response(to_json(found), media_type="application/json")


def _person(label: Label | None) -> PersonLabelOut | None:
    if label is None:
        return None
    return shown(PersonLabelOut, label, by=label.name, at=from_micros(label.at))


def _entry(entry: LabelEntry) -> LabelEntryOut:
    before, after = values_item(entry.before), values_item(entry.after)
    return shown(LabelEntryOut, entry, before=before, after=after)
