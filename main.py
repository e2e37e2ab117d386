"""The service put together: `create_app`, its life, and `app` for `uvicorn main:app`.

No rule of the business is here. Importing this module does nothing; `app` is built from the
environment when a server asks for it.
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from analysis import Analyser
from api_keys import ApiKeys
from batch_processor import Worker
from config import Settings, load_settings
from database import Database
from errors import ServiceError, StartRefused
from grok_client import GrokClient
from http_errors import add_error_handlers
from logs import set_up_logs
from metrics import Metrics
from middleware import BodyLimit, InboundLimit, KeyCheck, OpenRequests, RequestLog
from offline_analyser import OfflineAnalyser
from openapi import describe
from rate_limiter import CallLimiter, SlidingWindow
from routes import conversations, insights, operations
from schemas import Bodies
from services import Services
from store.conversations import ConversationStore
from store.figures import FigureStore
from store.insights import InsightStore
from store.work import WorkQueue

log = structlog.get_logger(__name__)

VERSION = "0.1.0"

CALL_WINDOW_SECONDS = 1.05
"""A second as Grok's side counts it, and what two calls' ways there may differ by."""

RESPONSE_GRACE_SECONDS = 0.5
"""The end of the shutdown's grace that is kept for answers to requests that are cut off."""


def create_app(settings: Settings, *, analyser: Analyser | None = None) -> FastAPI:
    """Build everything without I/O. Opening and closing is the lifespan's."""
    metrics = Metrics()
    bodies = Bodies(max_text_length=settings.max_text_length)
    database = Database(settings.database_url)
    queue = WorkQueue(database)
    analyser = analyser or _build_analyser(settings, metrics)
    parts = Services(
        settings=settings,
        bodies=bodies,
        api_keys=ApiKeys(settings.api_keys),
        metrics=metrics,
        database=database,
        conversations=ConversationStore(database, on_commit=metrics.committed),
        insights=InsightStore(database),
        figures=FigureStore(database),
        queue=queue,
        analyser=analyser,
        worker=_build_worker(settings, database, queue, analyser, metrics),
    )
    rate = settings.inbound_rate_limit
    window = SlidingWindow(rate, 1.0) if rate else None
    open_requests = OpenRequests()
    app = FastAPIOffline(
        title="Insights Platform API",
        version=VERSION,
        lifespan=_lifespan,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(RequestLog, observe=metrics.request_answered, open_requests=open_requests),
            *([Middleware(InboundLimit, window=window)] if window else []),
            *([Middleware(KeyCheck, api_keys=parts.api_keys)] if parts.api_keys else []),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    app.state.services = parts
    app.state.open_requests = open_requests
    # Not `include_router`: one flat list, ours first, is matched faster than a tree.
    for router in (operations.router, insights.router, conversations.router, conversations.intake):
        app.router.routes[:0] = router.routes
    add_error_handlers(app)
    describe(app, bodies, limited=bool(rate), with_keys=bool(parts.api_keys))
    return app


def _build_analyser(settings: Settings, metrics: Metrics) -> Analyser:
    if not settings.uses_grok:
        return OfflineAnalyser()
    assert settings.grok_key is not None
    return GrokClient(
        key=settings.grok_key.get_secret_value(),
        base_url=settings.grok_base_url,
        model=settings.grok_model,
        limiter=CallLimiter(SlidingWindow(settings.grok_rate_limit, CALL_WINDOW_SECONDS)),
        concurrency=settings.grok_concurrency,
        timeout=settings.grok_timeout,
        temperature=settings.grok_temperature,
        clusters=settings.clusters,
        clusters_closed=settings.clusters_mode == "closed",
        on_call=metrics.called,
    )


def _build_worker(
    settings: Settings, database: Database, queue: WorkQueue, analyser: Analyser, metrics: Metrics
) -> Worker | None:
    if not settings.worker_enabled:
        return None
    return Worker(
        queue,
        analyser,
        batch_size=settings.batch_size,
        poll_interval=settings.poll_interval,
        max_attempts=settings.grok_max_attempts,
        become_worker=database.become_worker,
        alone=database.is_sqlite,
        on_settled=metrics.settled,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Services = app.state.services
    shutdown = _Shutdown(parts, app.state.open_requests)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.database.close)
        try:
            await parts.database.open()
        except ServiceError as error:
            log.critical("start_refused", reason=error.details)
            sys.tracebacklimit = 0  # the server prints the exception; that line says it all
            raise StartRefused(error.details) from None
        stack.push_async_callback(parts.conversations.drained)
        stack.push_async_callback(parts.analyser.aclose)
        if parts.worker is not None:
            parts.worker.start()
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
        log.warning("api_is_open", reason="API_KEYS is not set: everybody may read and write")
    if parts.analyser.name == "offline":
        log.warning("offline_analyser", reason=operations.OFFLINE_NOTICE)


class _Shutdown:
    """Hears of SIGTERM when the worker and slow requests need to: at once.

    The server first waits for open connections, without limit, and only then ends the lifespan. So
    its handler is wrapped: the same signal stops the claiming, and sees to it that no request
    outlasts the grace.
    """

    def __init__(self, parts: Services, open_requests: OpenRequests) -> None:
        self._parts = parts
        self._open_requests = open_requests
        self._deadline: float | None = None

    def on_signals(self) -> "_SignalWrap":
        loop = asyncio.get_running_loop()
        return _SignalWrap(lambda: loop.call_soon_threadsafe(self._begin))

    def _begin(self) -> None:
        if self._deadline is not None:
            return
        grace = self._parts.settings.shutdown_grace
        self._deadline = time.monotonic() + grace
        log.info("service_stopping", grace_seconds=grace)
        if self._parts.worker is not None:
            self._parts.worker.stop_claiming()
        loop = asyncio.get_running_loop()
        loop.call_later(max(0.0, grace - RESPONSE_GRACE_SECONDS), self._open_requests.end)

    async def finish(self) -> None:
        self._begin()
        assert self._deadline is not None
        if self._parts.worker is not None:
            await self._parts.worker.stop(max(0.0, self._deadline - time.monotonic()))


class _SignalWrap:
    """While entered, `also` is called on SIGTERM and SIGINT before the handler that was there."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, also: Any) -> None:
        self._also = also
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        with suppress(ValueError):  # not in the main thread: the signals are somebody else's
            for number in self._SIGNALS:
                self._before[number] = signal.getsignal(number)
                signal.signal(number, self._handle)

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._also()
        before = self._before[number]
        if callable(before):
            before(number, frame)


def _app_from_environment() -> FastAPI:
    try:
        settings = load_settings()
    except StartRefused as error:
        raise SystemExit(f"Cannot start: {error.details}") from None
    set_up_logs(level=settings.log_level, format=settings.log_format)
    return create_app(settings)


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_from_environment()
    raise AttributeError(name)
