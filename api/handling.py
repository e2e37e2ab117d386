"""Who is at a conversation, and whether it is answered."""

from collections.abc import Sequence

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response
from typing_extensions import TypedDict

from analysis.handling import Handling, HandlingState
from api.access import needs
from api.answers import shown
from api.bodies import documented_body, read_short
from api.conversations import PATH, ConversationId
from api.error_responses import answers
from api.event_stream import ChangeSource
from api.insight_answers import HandlingNow, handling_item
from api.keys import holder_of, key_name
from api.late_routes import late_router
from api.services import services
from models import now_micros
from schemas import HandlingIn, ShownTime, built_late
from store.handling import HandlingStore

router = late_router(tags=["handling"])

_PATH = f"{PATH}/{{conversation_id}}/handling"


@built_late
class HandlingOut(HandlingNow):
    conversation_id: str


class HandlingEntryOut(TypedDict):
    """`by` is null where the author's next conversation did it; `key` names the API key that was
    used, null where none was needed."""

    at: ShownTime
    state: HandlingState
    by: str | None
    key: str | None
    until: ShownTime | None
    note: str | None


@built_late
class HandlingHistoryOut(HandlingOut):
    """`history` is the last 1,000 lines, or as many of them as are 2 MB of JSON, the oldest
    first."""

    history: list[HandlingEntryOut]


def _item(conversation_id: str, handling: Handling) -> HandlingOut:
    return {"conversation_id": conversation_id, **handling_item(handling)}


def handling_changes(store: HandlingStore) -> ChangeSource:
    """For the stream: an event `handling` for each change, with what there is by then."""

    async def since(id_: int) -> Sequence[tuple[int, HandlingOut | None]]:
        if events := await store.events_since(id_):
            return [(each.id, _item(each.conversation_id, each.handling)) for each in events]
        # Where the newest was erased, its number may be given again.
        newest = await store.newest_event()
        return [(newest, None)] if newest < id_ else []

    return ChangeSource("handling", store.newest_event, since)


_ERRORS = answers("not_found", "conflict", "unavailable")


@router.post(
    _PATH,
    responses={**_ERRORS, **answers("invalid_schema")},
    openapi_extra=documented_body(HandlingIn),
)
@needs("write")
async def handle_conversation(request: Request, conversation_id: ConversationId) -> HandlingOut:
    """Claim a conversation for a while, or say that it is answered, snoozed, ignored or open again.
    A claim, and a snooze, that has run out is open by itself."""
    parts = services(request)
    asked = await read_short(HandlingIn, request)
    now = now_micros()
    handling = await parts.handling.change(
        conversation_id, asked.to_change(now), key_name=key_name(request), now=now
    )
    parts.stream.wake()
    return _item(conversation_id, handling)


@router.get(_PATH, response_model=HandlingHistoryOut, responses=_ERRORS)
@needs("read")
async def get_handling(request: Request, conversation_id: ConversationId) -> Response:
    """What is done about a conversation now, and what was."""
    parts = services(request)
    async with parts.large_reads.hold(holder_of(request)):
        record = await parts.handling.find(conversation_id)
        found: HandlingHistoryOut = {
            **_item(conversation_id, record.handling),
            "history": [
                shown(HandlingEntryOut, entry, key=entry.key_name) for entry in record.history
            ],
        }
        return Response(to_json(found), media_type="application/json")
