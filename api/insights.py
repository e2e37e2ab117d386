"""Asking for insights."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from analysis.parsing import snake_case
from api.access import needs
from api.answers import (
    SummaryOut,
    TrendsOut,
    documented_headers,
    summary_json,
    trend_item,
)
from api.disconnect import stopped_when_gone
from api.error_responses import answers
from api.exports import BOM, CSV, NDJSON
from api.insight_answers import InsightsOut, insights_json
from api.keys import holder_of
from api.late_routes import late_router
from api.services import Services, services
from errors import InvalidInput
from models import format_time, utc_now
from schemas import (
    ExportFormat,
    ExportQuery,
    InsightConditions,
    InsightQuery,
    Order,
    SummaryQuery,
    TrendsQuery,
)
from store.derived import rollup_query
from store.filters import InsightFilter
from store.summaries import is_costly_summary

router = late_router(tags=["insights"])
direct = late_router(tags=["insights"])
"""Its handlers are called by `DirectRoutes`."""

PATH = "/api/v1/insights"
JSON = "application/json"


async def cluster_named(cluster: str, parts: Services) -> str:
    """A cluster may be named in any form, as analysers may name it: one that insights have is meant
    as it stands, else the topic in the list that it is a form of."""
    name = snake_case(cluster) or cluster
    listed = parts.topics.listed(name)
    if listed not in (None, name) and not await parts.insights.has_cluster(name):
        name = listed or name
    return name


async def conditions_named(named: dict[str, Any], parts: Services) -> dict[str, Any]:
    """Conditions by the names of the API, as they are stored: the topic under its name in the
    list."""
    if "cluster" in named:
        named["cluster"] = await cluster_named(named["cluster"], parts)
    return named


async def _filter(query: InsightConditions, parts: Services) -> InsightFilter:
    """What is asked for. Raises InvalidInput."""
    wanted = query.to_filter()
    if wanted.handling is not None:
        await parts.handling.end_leases()
    if wanted.cluster is None:
        return wanted
    return replace(wanted, cluster=await cluster_named(wanted.cluster, parts))


class _Stream(StreamingResponse):
    """Closes what it sends from, also where the client has gone or did not read. The answer to HEAD
    ends before what may have no end."""

    def __init__(self, content: AsyncGenerator[bytes], **more: Any) -> None:
        super().__init__(content, **more)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._content):
            if scope.get("is_head"):
                await anext(self._content)  # begun, so that closing it closes what is behind it
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                await send({"type": "http.response.body"})
            else:
                await super().__call__(scope, receive, send)


@direct.get(PATH, response_model=InsightsOut, responses=answers("invalid_schema", "unavailable"))
@needs("read")
async def list_insights(request: Request, query: Annotated[InsightQuery, Query()]) -> Response:
    """Insights in a time range, newest first, with the exact total for the whole filter; or those
    that are open, whom to answer first at the top."""
    parts = services(request)
    async with stopped_when_gone(request):
        window = timedelta(hours=parts.settings.priority_hours)
        wanted = await _filter(query.in_window(window), parts)
        pages = parts.priorities if query.order is Order.PRIORITY else parts.insights
        turns = parts.costly_reads if rollup_query.is_costly(wanted) else parts.large_reads
        async with turns.hold(holder_of(request)):
            page = await pages.page(wanted, limit=query.limit, cursor=query.cursor)
            pieces = []
            for piece in insights_json(page, wanted):
                pieces.append(piece)
                await parts.database.yield_to_urgent_write()
            del page
        return Response(b"".join(pieces), media_type=JSON)


@direct.get(
    f"{PATH}/summary",
    response_model=SummaryOut,
    responses=answers("invalid_schema", "unavailable"),
)
@needs("read")
async def summarise_insights(request: Request, query: Annotated[SummaryQuery, Query()]) -> Response:
    """The same insights counted: by time, by cluster, and all together. It is of all texts: where
    `q` is asked for, that is a 400."""
    if "q" in request.query_params:
        raise InvalidInput("q: a summary is of all texts; the list has the total of a search")
    parts = services(request)
    async with stopped_when_gone(request):
        await parts.handling.end_leases()
        wanted = await _filter(query, parts)
        costly = is_costly_summary(wanted, query.interval)
        turns = parts.costly_reads if costly else parts.large_reads
        async with turns.hold(holder_of(request)):
            summary = await parts.summaries.summary(wanted, query.interval)
    return Response(summary_json(summary), media_type=JSON)


@router.get(
    f"{PATH}/export",
    response_class=Response,
    responses={
        200: {
            "description": "Every match, newest first.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        **answers("invalid_schema", "unavailable"),
    },
    openapi_extra=documented_headers(
        {200: {"Content-Disposition": "A name for the file, with the time range in it."}}
    ),
)
@needs("read")
async def export_insights(request: Request, query: Annotated[ExportQuery, Query()]) -> Response:
    """Every insight of a filter as a file, however many there are."""
    is_csv, parts = query.format is ExportFormat.CSV, services(request)
    form, holder = CSV[query.delimiter] if is_csv else NDJSON, holder_of(request)
    wanted = await _filter(query, parts)
    batches = parts.insights.all_of(wanted, originals=form.originals)

    async def next_lines() -> bytes | None:
        """None at the end. Meanwhile nothing is held but the bytes that go out."""
        async with parts.costly_reads.hold(holder):
            await parts.database.yield_to_urgent_write()
            batch = await anext(batches, None)
            return None if batch is None else form.lines(batch)

    async with stopped_when_gone(request):
        first = await next_lines()  # what is wrong with the database is told before a file begins

    head = BOM + form.head if query.bom and is_csv else form.head

    async def content() -> AsyncGenerator[bytes]:
        lines: bytes | None = head + (first or b"")
        while lines is not None:
            yield lines
            lines = await next_lines()

    times = (wanted.start_time, wanted.end_time)
    start, end = (re.sub("[-:]", "", format_time(each.replace(microsecond=0))) for each in times)
    disposition = f'attachment; filename="insights-{start}-{end}.{query.format}"'
    return _Stream(
        content(),
        media_type=form.media_type,
        headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
    )


@router.get("/api/v1/trends", responses=answers("invalid_schema", "unavailable"))
@needs("read")
async def trends(request: Request, query: Annotated[TrendsQuery, Query()]) -> TrendsOut:
    """What is rising: clusters whose count in the last window stands out against those before."""
    as_of = query.as_of or utc_now()
    async with stopped_when_gone(request):
        found = await services(request).trends.trends(query.window, as_of=as_of)
    return {"as_of": as_of, "window": query.window, "trends": list(map(trend_item, found))}


@router.get(
    "/api/v1/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events without end: `insight` for each completed one.",
            "content": {"text/event-stream": {}},
        },
        **answers("invalid_schema", "unavailable"),
    },
)
@needs("read")
async def stream_insights(
    request: Request,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**63 - 1, description="Go on after this `id:`.")
    ] = None,
) -> Response:
    """Insights as they come, each as in a list."""
    events = services(request).stream.listen(last_event_id, holder_of(request))
    first = await anext(events)  # what is wrong with the database is told before a stream begins

    async def content() -> AsyncGenerator[bytes]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    return _Stream(
        content(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
