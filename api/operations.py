"""For those who run the service: is it alive, is it well, what is it doing."""

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.responses import JSONResponse, Response

from api.access import needs, open_to_all
from api.error_responses import answers
from api.holding import MOST_HEALTH_SECONDS
from api.keys import key_scope
from api.late_routes import late_router
from api.operation_answers import (
    AnalyserStats,
    BackupAccepted,
    BackupStats,
    BreakerStats,
    DatabaseStats,
    DrillStats,
    FallbackStats,
    Health,
    LaneCounts,
    Ready,
    ReplicaStats,
    ReuseStats,
    Spending,
    SpendingStats,
    Stats,
)
from api.readiness import check_all
from api.services import Services, services
from errors import Conflict, Unavailable
from models import Lane, Status, format_time
from store.figures import Figures
from worker.backups import BackupKeeper

router = late_router(tags=["operations"])
direct = late_router(tags=["operations"])
"""Its handlers are called by `DirectRoutes`."""

_HEALTH = Health().model_dump_json().encode()

FALLBACK_SHARE_TO_NOTICE = 0.1
FALLBACKS_TO_NOTICE = 2
"""One is no pattern, however few there are."""


@direct.head("/health", include_in_schema=False)
@direct.get("/health", response_model=Health, responses=answers())
@open_to_all(any_host=True, most_held=MOST_HEALTH_SECONDS)
async def health(_request: Request) -> Response:
    """The process answers."""
    return Response(_HEALTH, media_type="application/json")


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready",
    response_model=Ready,
    responses={**answers("invalid_schema"), 503: {"model": Ready, "description": "not ready"}},
)
@open_to_all(any_host=True)
async def ready(
    request: Request,
    purpose: Annotated[
        Literal["traffic"] | None,
        Query(
            alias="for",
            description="`traffic` leaves out what hinders no posts and reads: for load balancers.",
        ),
    ] = None,
) -> Response:
    """The service can do its work: write, analyse what waits, and go on so for a while. Checked
    once a second at most."""
    checks = await check_all(services(request), for_traffic=purpose == "traffic")
    well = all(check == "ok" for check in checks.values())
    answer = Ready(status="ready" if well else "not_ready", checks=checks)
    return JSONResponse(answer.model_dump(), 200 if well else 503)


@router.get("/api/v1/stats", responses=answers("unavailable"))
@needs("read")
async def stats(request: Request) -> Stats:
    """The queue and the spending."""
    parts = services(request)
    figures = await parts.figures.all()
    queue, completions = figures.queue, figures.completions
    today, total = figures.today, figures.total
    analyser, breaker = parts.analyser, parts.call_runner.breaker
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
            answering_model=parts.call_runner.answering_model,
            notice=analyser.notice,
        ),
        calls_per_second=parts.metrics.calls_per_second(),
        call_limit_per_second=analyser.throttle.call_limit_per_second,
        calls_under_way=parts.call_runner.under_way,
        bound_by=parts.worker.bound_by if parts.worker else "queue",
        breaker=BreakerStats(
            state="closed" if breaker.reason is None else "open",
            reason=breaker.reason,
            next_probe_seconds=breaker.next_probe_seconds(),
        ),
        spending=SpendingStats(
            today=Spending.of(today),
            total=Spending.of(total),
            daily_budget_usd=parts.settings.grok_daily_budget_usd,
        ),
        reuse=ReuseStats(today_share=today.reused_share, total_share=total.reused_share),
        fallback=FallbackStats(
            today=figures.fallbacks.today,
            last_hour=figures.fallbacks.last_hour,
            notice=_fallback_notice(figures),
        ),
        database=DatabaseStats(engine=parts.database.engine, version=parts.database.version),
        replicas=ReplicaStats(
            analysing=parts.heartbeat.analysing if parts.heartbeat else int(bool(parts.worker)),
            redis=await _redis_state(parts),
        ),
        backup=None if parts.backups is None else _backup_stats(parts.backups),
        key_scope=key_scope(request),
    )


async def _redis_state(parts: Services) -> Literal["fine", "away"] | None:
    if parts.settings.redis_url is None:
        return None
    await parts.call_window.try_pass(0)  # there may have been no call since it went or came
    return "fine" if parts.call_window.counts_all else "away"


def _backup_stats(backups: BackupKeeper) -> BackupStats:
    newest, drill = backups.newest, backups.last_drill
    return BackupStats(
        last=newest and format_time(newest.moment),
        age_seconds=newest and max(0.0, (datetime.now(UTC) - newest.moment).total_seconds()),
        verified=newest is not None,
        drill=drill and DrillStats(**asdict(drill)),
    )


@router.post("/api/v1/backups", status_code=202, responses=answers("conflict"))
@needs("admin")
async def make_backup(request: Request) -> BackupAccepted:
    """Make a verified backup now."""
    backups = services(request).backups
    if backups is None:
        raise Conflict("There is no folder for backups: BACKUP_DIR is not set.")
    backups.make_soon()
    return BackupAccepted()


def _fallback_notice(figures: Figures) -> str | None:
    for when, fallbacks, all_ in (
        ("in the last hour", figures.fallbacks.last_hour, figures.completions.last_hour),
        ("today", figures.fallbacks.today, figures.today.conversations),
    ):
        if fallbacks >= FALLBACKS_TO_NOTICE and fallbacks > all_ * FALLBACK_SHARE_TO_NOTICE:
            return (
                f"{fallbacks} of {all_} conversations analysed {when} got no usable answer: they "
                "are stored as neutral, without a topic and without confidence."
            )
    return None


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **answers(),
    },
)
@needs("read", limited=False)
async def metrics(request: Request) -> Response:
    """For Prometheus. Counted once a second."""
    parts = services(request)
    text = await parts.metrics_text.get(lambda: _render_metrics(parts))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _render_metrics(parts: Services) -> bytes:
    queue = today = None
    with suppress(Unavailable):  # the counters are wanted most when something is wrong
        figures = await parts.figures.all()
        queue, today = figures.queue, figures.today
    return parts.metrics.render(
        queue, today, breaker_open=parts.call_runner.breaker.reason is not None
    )
