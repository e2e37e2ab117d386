"""For those who run the service: is it alive, is it well, what is it doing."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from errors import Unavailable
from http_errors import answers
from models import Lane, Status
from schemas import AnalyserStats, Health, LaneCounts, Ready, SinceStart, Stats
from services import Services, services

router = APIRouter(tags=["operations"])

STALLED_SECONDS = 300.0
OFFLINE_NOTICE = "The offline analyser is at work: a word list, not Grok."


@router.head("/health", include_in_schema=False)
@router.get("/health", responses=answers())
async def health() -> Health:
    """The process answers."""
    return Health()


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready", response_model=Ready, responses={503: {"model": Ready, "description": "not ready"}}
)
async def ready(request: Request) -> Response:
    """The service can do its work: write, and analyse what waits."""
    parts = services(request)
    checks = {
        "database": await _check_database(parts),
        "worker": await _check_worker(parts),
        "analyser": parts.analyser.blocked_reason or "ok",
    }
    well = all(check == "ok" for check in checks.values())
    answer = Ready(status="ready" if well else "not_ready", checks=checks)
    return JSONResponse(answer.model_dump(), 200 if well else 503)


async def _check_database(parts: Services) -> str:
    try:
        await parts.database.check_writable()
    except Unavailable as error:
        return error.details
    return "ok"


async def _check_worker(parts: Services) -> str:
    if parts.worker is None:
        return "ok"
    if not parts.worker.alive:
        return "The worker has stopped."
    if parts.worker.standing_by:
        return "ok"  # another process does the work, and answers for it
    try:
        oldest = await parts.figures.oldest_pending_seconds()
    except Unavailable:
        return "ok"  # the database's check tells
    if (oldest or 0) > STALLED_SECONDS and parts.worker.seconds_since_progress > STALLED_SECONDS:
        return "Conversations wait, and none has finished for five minutes."
    return "ok"


@router.get("/api/v1/stats", responses=answers("unavailable"))
async def stats(request: Request) -> Stats:
    """The queue and the spending."""
    parts = services(request)
    queue = await parts.figures.queue()
    completions = await parts.figures.completions()
    analyser = parts.analyser
    return Stats(
        counts={
            status: LaneCounts(
                live=queue.counts[status, Lane.LIVE], bulk=queue.counts[status, Lane.BULK]
            )
            for status in Status
        },
        oldest_pending_seconds=queue.oldest_pending_seconds,
        completed_last_minute=completions.last_minute,
        completed_last_hour=completions.last_hour,
        analyser=AnalyserStats(
            name=analyser.name,
            model=analyser.model,
            notice=OFFLINE_NOTICE if analyser.name == "offline" else None,
            blocked_reason=analyser.blocked_reason,
        ),
        calls_per_second=parts.metrics.calls_per_second(),
        calls_under_way=parts.worker.calls_under_way if parts.worker else 0,
        since_start=SinceStart(
            tokens=parts.metrics.tokens, cost_usd=parts.metrics.cost_usd_ticks / 1e10
        ),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **answers(),
    },
)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    parts = services(request)
    try:
        queue = await parts.figures.queue()
    except Unavailable:
        queue = None  # the counters are wanted most when something is wrong
    text = parts.metrics.render(queue)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
