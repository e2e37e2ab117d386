"""The service put together: `create_app`, its life, and `app` for `uvicorn main:app`.

No rule of the business is here. Importing this module does nothing; `app` is built from the
environment when a server asks for it.
"""

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from analysis.outcomes import Analyser, Outcome
from api import authors, conversations, dashboard, docs, insights, operations
from api.access import open_to_all
from api.error_responses import add_error_handlers
from api.event_stream import InsightStream
from api.inbound_limits import InboundLimits
from api.keys import ApiKeys
from api.middleware import Admission, BodyLimit, OpenRequests, RequestLog, RouteFinder, WebCheck
from api.openapi import describe
from api.services import Services
from api.web_pages import WebPages
from assembly import build_analyser
from batch_processor import Worker
from config import Settings, load_settings
from database import Database
from errors import ServiceError, StartRefused
from grok.prices import TICKS_PER_USD
from rate_limiter import SlidingWindow, Window
from runtime.logs import set_up_logs
from runtime.metrics import Metrics
from runtime.shutdown import Shutdown
from schemas import Bodies
from store import derived
from store.authors import AuthorStore
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.insights import InsightStore
from store.ledger import Ledger
from store.operations import FigureStore
from store.queue import Claimed, WorkQueue
from store.summaries import SummaryStore
from store.trends import WindowStore
from worker.calls import CallRunner
from worker.retention import Housekeeper

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

VERSION = "0.1.0"


def create_app(settings: Settings, *, analyser: Analyser | None = None) -> FastAPI:
    """Build everything without I/O. Opening and closing is the lifespan's."""
    metrics = Metrics()
    redis = _connect_redis(settings)
    limits = _build_inbound_limits(settings, redis)
    bodies = Bodies(max_text_length=settings.max_text_length)
    database = Database(settings.database_url)
    queue = WorkQueue(database)
    calls = _build_window(redis, "grok", settings.grok_rate_limit, 1.0, fail_open=False)
    analyser = analyser or build_analyser(
        settings, window=calls, yield_to_urgent_write=database.yield_to_urgent_write
    )
    ledger = Ledger(database, daily_budget_ticks=_budget_ticks(settings))
    call_runner = CallRunner(
        analyser,
        ledger,
        max_attempts=settings.grok_max_attempts,
        on_sent=metrics.call_sent,
        on_call=metrics.call_ended,
    )
    insight_store = InsightStore(database)
    stream = InsightStream(insight_store)
    parts = Services(
        settings=settings,
        bodies=bodies,
        api_keys=ApiKeys(settings.api_keys),
        metrics=metrics,
        database=database,
        conversations=ConversationStore(database, on_commit=metrics.committed),
        insights=insight_store,
        summaries=SummaryStore(database),
        authors=AuthorStore(database),
        windows=WindowStore(database),
        stream=stream,
        housekeeper=_build_housekeeper(settings, database),
        figures=FigureStore(database),
        queue=queue,
        analyser=analyser,
        ledger=ledger,
        call_runner=call_runner,
        worker=_build_worker(
            settings, database, queue, ledger, analyser, call_runner, metrics, stream
        ),
        inbound_limits=limits,
        redis=redis,
    )
    pages = WebPages(settings.allowed_hosts)
    open_requests = OpenRequests()
    app = FastAPIOffline(
        docs_url=None,  # `api/docs.py` has them
        redoc_url=None,
        title="Insights Platform API",
        version=VERSION,
        lifespan=_lifespan,
        redirect_slashes=False,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(RequestLog, observe=metrics.request_answered, open_requests=open_requests),
            Middleware(RouteFinder),
            *([] if parts.api_keys else [Middleware(WebCheck, pages=pages)]),
            Middleware(Admission, api_keys=parts.api_keys, limits=limits),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    app.state.services = parts
    app.state.open_requests = open_requests
    for made in app.router.routes:  # the document, and the files of the pages that show it
        assert isinstance(made, Route | Mount)
        open_to_all()(made.endpoint if isinstance(made, Route) else made.app)
    # Not `include_router`: one flat list, ours first, is matched faster than a tree.
    for router in (
        docs.router,
        dashboard.router,
        operations.router,
        insights.router,
        authors.router,
        conversations.router,
        conversations.intake,
    ):
        app.router.routes[:0] = router.routes
    add_error_handlers(app)
    describe(app, bodies, limited=limits is not None, with_keys=bool(parts.api_keys))
    return app


def _connect_redis(settings: Settings) -> "Redis | None":
    if settings.redis_url is None:
        return None
    from backends.redis import connect  # 6 MB that few need

    return connect(settings.redis_url)


def _build_window(
    redis: "Redis | None", name: str, calls: int, per: float, *, fail_open: bool
) -> Window:
    """Shared where there is Redis. When it goes away, each replica keeps the limit by itself, or
    with `fail_open` lets everybody pass."""
    window = SlidingWindow(calls, per)
    if redis is None:
        return window
    from backends.redis import RedisWindow

    otherwise = None if fail_open else window
    return RedisWindow(redis, name=name, calls=calls, per=per, otherwise=otherwise)


def _build_inbound_limits(settings: Settings, redis: "Redis | None") -> InboundLimits | None:
    if not settings.inbound_rate_limit:
        return None

    def build(name: str, count: int) -> Window:
        return _build_window(redis, name, count, 1.0, fail_open=True)

    return InboundLimits(settings.inbound_rate_limit, settings.api_keys, build=build)


def _budget_ticks(settings: Settings) -> int | None:
    budget = settings.grok_daily_budget_usd
    return None if budget is None else int(budget * TICKS_PER_USD)


def _build_worker(
    settings: Settings,
    database: Database,
    queue: WorkQueue,
    ledger: Ledger,
    analyser: Analyser,
    call_runner: CallRunner,
    metrics: Metrics,
    stream: InsightStream,
) -> Worker | None:
    if not settings.worker_enabled:
        return None

    def on_settled(claimed: Claimed, outcome: Outcome) -> None:
        metrics.settled(claimed, outcome)
        stream.wake()

    return Worker(
        queue,
        ledger,
        analyser,
        call_runner,
        batch_size=settings.batch_size,
        poll_interval=settings.poll_interval,
        reuse_window=timedelta(seconds=settings.reuse_window),
        call_seconds=2 * settings.grok_timeout,
        acquire_worker_lock=database.acquire_worker_lock,
        alone=database.is_sqlite,
        on_settled=on_settled,
    )


def _build_housekeeper(settings: Settings, database: Database) -> Housekeeper | None:
    if not settings.worker_enabled:
        return None
    days = settings.retention_days
    return Housekeeper(
        ErasureStore(database),
        retention=None if days is None else timedelta(days=days),
        may_work=database.acquire_worker_lock,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Services = app.state.services
    shutdown = Shutdown(
        grace=parts.settings.shutdown_grace,
        worker=parts.worker,
        open_requests=app.state.open_requests,
        end_streams=parts.stream.close,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.database.close)
        try:
            await parts.database.open()
            await derived.ensure(parts.database)
        except ServiceError as error:
            log.critical("start_refused", reason=error.details)
            sys.tracebacklimit = 0  # the server prints the exception; that line says it all
            raise StartRefused(error.details) from None
        stack.push_async_callback(parts.conversations.drained)
        stack.push_async_callback(parts.queue.drained)
        stack.push_async_callback(parts.analyser.aclose)
        if parts.redis is not None:
            stack.push_async_callback(parts.redis.aclose)
        if parts.worker is not None:
            parts.worker.start()
        if parts.housekeeper is not None:
            parts.housekeeper.start()
            stack.push_async_callback(parts.housekeeper.stop)
        stack.push_async_callback(shutdown.finish)
        stack.enter_context(_calm_collector())
        with shutdown.on_signals():
            _log_start(parts)
            yield
    log.info("service_stopped")


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Spare the garbage collector the some 300,000 objects that live as long as the process.

    Looking through them all, again and again, made for pauses of 90 ms and a third of the cost of
    a request. What requests leave behind is nearly all freed by reference counts.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _log_start(parts: Services) -> None:
    settings = parts.settings
    log.info(
        "service_started",
        version=VERSION,
        database=parts.database.url.render_as_string(hide_password=True),
        analyser=parts.analyser.name,
        model=parts.analyser.model,
        worker=settings.worker_enabled,
    )
    if not parts.api_keys:
        log.warning("api_is_open", reason=_who_can_reach_it(settings))
    if parts.analyser.name == "offline":
        log.warning("offline_analyser", reason=operations.OFFLINE_NOTICE)


def _who_can_reach_it(settings: Settings) -> str:
    names = ", ".join(("localhost", *settings.allowed_hosts)).upper()
    return (
        "API_KEYS IS NOT SET: EVERYBODY WHO CAN REACH THIS PORT MAY READ, WRITE AND ERASE ALL,"
        f" BY AN IP ADDRESS, A NAME WITHOUT A DOT OR {names}. SET API_KEYS, OR BIND=127.0.0.1 WHERE"
        " COMPOSE PUBLISHES THE PORT."
    )


def _app_from_environment() -> FastAPI:
    try:
        settings = load_settings()
        set_up_logs(level=settings.log_level, format=settings.log_format)
        return create_app(settings)
    except StartRefused as error:
        raise SystemExit(f"Cannot start: {error.details}") from None


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_from_environment()
    raise AttributeError(name)
