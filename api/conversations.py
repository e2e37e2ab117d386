"""Handing conversations in, looking them up, retrying and erasing them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from api.access import needs
from api.answers import (
    CONFLICT_ITEMS,
    REPLAYED,
    REPLAYED_ITEMS,
    Accepted,
    BatchAccepted,
    ConversationOut,
    FailedOut,
    Retried,
    accepted_json,
    conversation_json,
    documented_headers,
    failed_json,
    location,
    ranges_of,
    replayed_headers,
)
from api.bodies import Body, LongBody, count_values, documented_body, parse_body, read_body
from api.error_responses import answers, error_response
from api.keys import holder_of, key_name
from api.late_routes import late_router
from api.path_ids import path_id
from api.services import services
from errors import Conflict, InvalidInput
from models import Lane
from runtime.turns import short_turns
from schemas import (
    BatchIn,
    BatchItemIn,
    ConversationIn,
    FailedQuery,
    check_idempotency_key,
)
from store.conversations import KeyConflict, NewConversation
from store.lookup import no_such_conversation

router = late_router(tags=["conversations"])
direct = late_router(tags=["conversations"])
"""Its handlers are called by `DirectRoutes`."""

PATH = "/api/v1/conversations"

_LONG_BODY = 500_000
_MANY_VALUES = 20_000
"""JSON of more bytes or values is read in pieces: so many values take some 5 ms."""
_LARGE_ANSWER = 200_000
"""Answers with more characters of `raw_data` are made one after the other, and give way to posts:
2 MB take 4 ms."""

_ROWS_AT_A_TIME = 50
"""Rows of a batch that are hashed in one go, which takes a third of a millisecond."""


ConversationId = Annotated[str, path_id("conv", no_such_conversation)]


def _idempotency_key(request: Request) -> str | None:
    """The header's text, as UTF-8 like the one in a batch where it is, without blanks at its end: a
    proxy takes them away, or does not. Raises InvalidInput."""
    sent = [
        value.rstrip(b" \t")
        for name, value in request.scope["headers"]
        if name == b"idempotency-key"
    ]
    if not sent:
        return None
    if len(sent) > 1:
        raise InvalidInput("Idempotency-Key: must be given once")
    try:
        key = sent[0].decode()
    except UnicodeDecodeError:
        key = sent[0].decode("latin-1")
    try:
        return check_idempotency_key(key)
    except ValueError as error:
        raise InvalidInput(f"Idempotency-Key: {error}") from None


@asynccontextmanager
async def _long_body(shape: type[Body], body: bytes, longest: int) -> AsyncIterator[LongBody[Body]]:
    """Read on a thread, from which the interpreter's lock comes back now and then, so that others
    are served meanwhile."""
    with short_turns():
        found = await asyncio.to_thread(LongBody, shape, body, max_text_length=longest)
        try:
            yield found
        finally:
            await asyncio.to_thread(found.free)


def _is_long(body: bytes) -> bool:
    return len(body) > _LONG_BODY or (
        len(body) > 2 * _MANY_VALUES and count_values(body) > _MANY_VALUES
    )


def _give_keys(batch: BatchIn, request: Request) -> None:
    """The header's key holds for the items that have none, each by its position."""
    if (of_batch := _idempotency_key(request)) is None:
        return
    stem = hashlib.sha256(of_batch.encode()).hexdigest()
    for position, item in enumerate(batch.conversations):
        if item.idempotency_key is None:
            item.idempotency_key = f"{stem} {position}"


def _all_of(items: Sequence[BatchItemIn]) -> list[NewConversation]:
    return [item.to_new(item.idempotency_key) for item in items]


def _all_of_long(found: LongBody[BatchIn]) -> list[NewConversation]:
    return [found.to_new(item, item.idempotency_key) for item in found.read.conversations]


async def take_apart(
    batch: BatchIn, yield_to_urgent_write: Callable[[], Awaitable[None]]
) -> list[NewConversation]:
    """The batch's conversations, in order. Yields to urgent writes after each piece of it."""
    rows: list[NewConversation] = []
    for start in range(0, len(batch.conversations), _ROWS_AT_A_TIME):
        rows += _all_of(batch.conversations[start : start + _ROWS_AT_A_TIME])
        await yield_to_urgent_write()
    return rows


def _documented_key(description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 255}
    key = {"name": "Idempotency-Key", "in": "header", "schema": schema}
    return {"parameters": [{**key, "description": description}]}


async def _count_rows(request: Request, batch: BatchIn) -> None:
    """Raises RateLimited."""
    if limits := services(request).inbound_limits:
        await limits.rows(request.scope["api_key"], len(batch.conversations))


@direct.post(
    PATH,
    status_code=202,
    response_model=Accepted,
    responses=answers("invalid_schema", "conflict", "unavailable"),
    openapi_extra={
        **documented_body(ConversationIn),
        **_documented_key(
            "The same key with the same body stores one conversation. The answer says"
            " Idempotent-Replayed: true where it was stored before."
        ),
        **documented_headers(
            {
                202: {
                    "Location": "Where the conversation is.",
                    REPLAYED: "true, where it was stored before.",
                }
            }
        ),
    },
)
@needs("write")
async def submit_conversation(request: Request) -> Response:
    """Queue a conversation for analysis. A 202 means that it is on disk."""
    parts = services(request)
    longest = parts.settings.max_text_length
    body = await read_body(request)
    async with parts.budget_of(body).hold(len(body)):
        if _is_long(body):
            async with _long_body(ConversationIn, body, longest) as found:
                conversation = await asyncio.to_thread(
                    found.to_new, found.read, _idempotency_key(request)
                )
        else:
            read = parse_body(ConversationIn, body, max_text_length=longest)
            conversation = read.to_new(_idempotency_key(request))
        ids = await parts.conversations.accept(
            [conversation], lane=Lane.LIVE, owner=key_name(request)
        )
    parts.wake_worker()
    headers = {"Location": location(request, f"{PATH}/{ids[0]}")}
    if ids.replayed:
        headers[REPLAYED] = "true"
    return Response(accepted_json(ids[0]), 202, headers, "application/json")


@direct.post(
    f"{PATH}/batch",
    status_code=202,
    response_model=BatchAccepted,
    responses=answers("invalid_schema", "conflict", "unavailable"),
    openapi_extra={
        **documented_body(BatchIn),
        **_documented_key("For the items that have no idempotency_key, each at its position."),
        **documented_headers(
            {
                202: {
                    REPLAYED: "true, where all were stored before.",
                    REPLAYED_ITEMS: "The positions of those that were stored before: 0,3-5.",
                },
                409: {CONFLICT_ITEMS: "The positions of those with the same fault as the first."},
            }
        ),
    },
)
@needs("write")
async def submit_batch(request: Request) -> Response:
    """Queue up to 1,000 conversations, all or none. Where the keys of some were known already, the
    answer's header Idempotent-Replayed-Items tells their positions (0,3-5); where they were used
    with something else, Idempotency-Conflict-Items those with the same fault as the first."""
    parts = services(request)
    longest = parts.settings.max_text_length
    yield_to_urgent_write = parts.database.yield_to_urgent_write
    body = await read_body(request)
    async with parts.budget_of(body).hold(len(body)):
        if _is_long(body):
            async with _long_body(BatchIn, body, longest) as found:
                await _count_rows(request, found.read)
                _give_keys(found.read, request)
                items = await asyncio.to_thread(_all_of_long, found)
                lane = found.read.lane
        else:
            await yield_to_urgent_write()  # reading the JSON takes long and cannot be interrupted
            batch = parse_body(BatchIn, body, max_text_length=longest)
            await _count_rows(request, batch)
            _give_keys(batch, request)
            items = await take_apart(batch, yield_to_urgent_write)
            lane = batch.lane
        try:
            ids = await parts.conversations.accept(items, lane=lane, owner=key_name(request))
        except KeyConflict as conflict:
            place = f"conversations[{conflict.positions[0]}]"
            if _idempotency_key(request) is None:
                place += ".idempotency_key"
            return error_response(
                Conflict(f"{place}: {conflict.details}"),
                {CONFLICT_ITEMS: ranges_of(conflict.positions)},
            )
    parts.wake_worker()
    answer = BatchAccepted(accepted=len(ids), conversation_ids=ids)
    headers = replayed_headers(ids.replayed, of=len(ids)) if ids.replayed else None
    return Response(answer.model_dump_json(), 202, headers, "application/json")


@router.post(f"{PATH}/retry", status_code=202, responses=answers("unavailable"))
@needs("write")
async def retry_failed_conversations(request: Request) -> Retried:
    """Put all failed conversations back in the queue."""
    parts = services(request)
    retried = await parts.conversations.retry_failed()
    parts.wake_worker()
    return Retried(retried=retried)


@router.post(
    f"{PATH}/{{conversation_id}}/retry",
    status_code=202,
    responses=answers("not_found", "conflict", "unavailable"),
)
@needs("write")
async def retry_conversation(request: Request, conversation_id: ConversationId) -> Accepted:
    """Put one failed conversation back in the queue."""
    parts = services(request)
    await parts.conversations.retry(conversation_id)
    parts.wake_worker()
    return Accepted(conversation_id=conversation_id)


@direct.get(
    f"{PATH}/failed",
    response_model=FailedOut,
    responses=answers("invalid_schema", "unavailable"),
)
@needs("read")
async def list_failed(request: Request, query: Annotated[FailedQuery, Query()]) -> Response:
    """Conversations that failed and why, those accepted last first."""
    parts = services(request)
    async with parts.large_reads.hold(holder_of(request)):
        page = await parts.conversations.failed(limit=query.limit, cursor=query.cursor)
        await parts.database.yield_to_urgent_write()
        return Response(failed_json(page), media_type="application/json")


@direct.get(
    f"{PATH}/{{conversation_id}}",
    response_model=ConversationOut,
    responses=answers("not_found", "unavailable"),
)
@needs("read")
async def get_conversation(request: Request, conversation_id: ConversationId) -> Response:
    """One conversation, how far it is, and its insight."""
    parts = services(request)
    found = await parts.conversations.find(conversation_id)
    per_second = 0.0
    if found.queue_position is not None and not parts.call_runner.wait_left():
        per_second = await parts.figures.completed_per_second()
    if len(found.raw_data or "") <= _LARGE_ANSWER:
        content = conversation_json(found, per_second=per_second)
        return Response(content, media_type="application/json")
    del found  # for as long as this waits: many may
    async with parts.large_answers:
        await parts.database.yield_to_urgent_write()
        found = await parts.conversations.find(conversation_id)
        content = conversation_json(found, per_second=per_second)
        return Response(content, media_type="application/json")


@router.delete(
    f"{PATH}/{{conversation_id}}", status_code=204, responses=answers("not_found", "unavailable")
)
@needs("admin")
async def erase_conversation(request: Request, conversation_id: ConversationId) -> Response:
    """Erase a conversation and its insight from everything, also while it is being analysed."""
    parts = services(request)
    await parts.conversations.erase(conversation_id)
    parts.stream.wake()  # before the numbers of what was erased are given again
    return Response(status_code=204)
