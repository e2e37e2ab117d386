"""Asking for insights."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from errors import InvalidInput
from http_errors import answers
from schemas import InsightQuery, InsightsOut
from services import services

router = APIRouter(tags=["insights"])


@router.get("/api/v1/insights", responses=answers("invalid_schema", "unavailable"))
async def list_insights(request: Request, query: Annotated[InsightQuery, Query()]) -> InsightsOut:
    """Insights in a time range, newest first, with the exact total for the whole filter."""
    if "q" in request.query_params:  # to ignore it would give totals that are wrong
        raise InvalidInput("q: searching in texts is not available yet")
    wanted = query.to_filter()
    page = await services(request).insights.page(wanted, limit=query.limit, cursor=query.cursor)
    return InsightsOut.of(page, wanted)
