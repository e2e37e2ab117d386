"""Asking for insights."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from http_errors import answers
from schemas import (
    InsightQuery,
    InsightsOut,
    SummaryOut,
    SummaryQuery,
    insights_json,
    summary_json,
)
from services import services
from store.summaries import Interval

router = APIRouter(tags=["insights"])

PATH = "/api/v1/insights"
JSON = "application/json"


@router.get(PATH, response_model=InsightsOut, responses=answers("invalid_schema", "unavailable"))
async def list_insights(request: Request, query: Annotated[InsightQuery, Query()]) -> Response:
    """Insights in a time range, newest first, with the exact total for the whole filter."""
    wanted = query.to_filter()
    page = await services(request).insights.page(wanted, limit=query.limit, cursor=query.cursor)
    return Response(insights_json(page, wanted), media_type=JSON)


@router.get(
    f"{PATH}/summary",
    response_model=SummaryOut,
    responses=answers("invalid_schema", "unavailable"),
)
async def summarise(request: Request, query: Annotated[SummaryQuery, Query()]) -> Response:
    """The same insights counted: by time, by cluster, and all together."""
    interval = Interval[query.interval.upper()]
    summary = await services(request).summaries.summary(query.to_filter(), interval)
    return Response(summary_json(summary), media_type=JSON)
