"""The report of a day or a week: JSON, Markdown or HTML."""

import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated

from fastapi import Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from analysis.report import to_html, to_markdown
from analysis.report_times import Period
from api.access import needs
from api.error_responses import answers
from api.late_routes import late_router
from api.services import services
from models import utc_now
from schemas import ShownTime, built_late
from store.reports import yesterday

router = late_router(tags=["alerts"])


class ReportFormat(StrEnum):
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


_A_DATE = "must be a date from 1970 to 9998, such as 2025-01-20"


def _as_a_date(value: object) -> object:
    """pydantic also takes a number, as seconds, and a moment."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError(_A_DATE)
    return value


def _with_a_time_before(day: date) -> date:
    if not 1970 <= day.year < 9999:
        raise ValueError(_A_DATE)
    return day


class ReportQuery(BaseModel):
    period: Period = Period.DAY
    ending: (
        Annotated[date, BeforeValidator(_as_a_date), AfterValidator(_with_a_time_before)] | None
    ) = Field(None, description="The last day, in UTC. Default: yesterday.")
    format: ReportFormat = ReportFormat.JSON


class ReportTotals(TypedDict):
    count: int
    positive: int
    neutral: int
    negative: int
    negative_share: float | None
    average_sentiment: float | None


class ReportTopic(TypedDict):
    cluster: str
    count: int
    negative: int
    average_sentiment: float | None
    before: int
    week_earlier: int


class ReportRising(TypedDict):
    """`score` is that of trends, beside the period before and the one a week earlier."""

    cluster: str
    count: int
    expected: float
    score: float
    examples: Sequence[str]


class ReportPost(TypedDict):
    conversation_id: str
    timestamp: ShownTime
    author: str | None
    text: str


class ReportAnswers(TypedDict):
    answered: int
    open: int
    answered_in_goal: float | None
    median_answer_seconds: float | None


class ReportSpending(TypedDict):
    cost_usd: float
    before_usd: float


@built_late
class ReportOut(TypedDict):
    """`before` is the period before, `week_earlier` the same one a week earlier. What is not over
    has the figures so far."""

    period: Period
    ending: date
    start_time: ShownTime
    end_time: ShownTime
    is_over: bool
    totals: ReportTotals
    before: ReportTotals
    week_earlier: ReportTotals
    topics: Sequence[ReportTopic]
    rising: Sequence[ReportRising]
    oldest_unanswered: Sequence[ReportPost]
    spending: ReportSpending
    answers: ReportAnswers
    link: str


_TEXTS = {
    "text/markdown": {"schema": {"type": "string"}},
    "text/html": {"schema": {"type": "string"}},
}


@router.get(
    "/api/v1/report",
    response_model=ReportOut,
    responses={
        200: {"content": _TEXTS},
        **answers("invalid_schema", "unavailable"),
    },
)
@needs("read")
async def get_report(request: Request, asked: Annotated[ReportQuery, Query()]) -> Response:
    """A day or a week beside the one before it and the same one a week earlier."""
    ending = asked.ending or yesterday(utc_now())
    report = await services(request).reports.report(asked.period, ending)
    match asked.format:
        case ReportFormat.MARKDOWN:
            return Response(to_markdown(report), media_type="text/markdown; charset=utf-8")
        case ReportFormat.HTML:
            return Response(
                to_html(report),
                media_type="text/html; charset=utf-8",
                headers={"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"},
            )
    return JSONResponse(report)
