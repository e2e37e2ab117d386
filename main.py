"""The service as an ASGI app: `create_app`, its lifespan, and `app` for `uvicorn main:app`.

Importing this module does nothing; `app` is built from the environment when a server asks for it.
"""

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from runtime.quick_imports import quick_imports

with quick_imports():
    import structlog
    from fastapi import FastAPI
    from fastapi_offline import FastAPIOffline
    from starlette.middleware import Middleware
    from starlette.routing import Mount, Route

    from analysis.analyser import Analyser
    from api import (
        alert_rules,
        alerts,
        analysis_versions,
        authors,
        conversations,
        dashboard,
        docs,
        endpoints,
        handling,
        insights,
        labels,
        operations,
        plans,
        reports,
        rules,
    )
    from api.access import open_to_all
    from api.direct_routes import DirectRoutes
    from api.error_responses import add_error_handlers
    from api.keys import ApiKeys
    from api.middleware import Admission, BodyLimit, OpenRequests, RequestLog
    from api.openapi import describe
    from api.services import Services
    from api.web_pages import WebPages
    from assembly import CONVERSATIONS, INSIGHTS, Assembly, assemble
    from config import ENV_FILE, Settings, load_settings
    from errors import ServiceError, StartRefused
    from runtime.environment import misspelt_settings
    from runtime.heaps import share_heaps
    from runtime.logs import set_up_logs
    from runtime.shutdown import Shutdown
    from store import derived

log = structlog.get_logger(__name__)

VERSION = "0.1.0"


def create_app(settings: Settings, *, analyser: Analyser | None = None) -> FastAPI:
    """Build everything without I/O. Opening and closing is the lifespan's."""
    assembly = assemble(settings, analyser=analyser)
    services = assembly.services
    api_keys = ApiKeys(settings.api_keys)
    open_requests = OpenRequests()
    app = FastAPIOffline(
        docs_url=None,  # `api/docs.py` has it
        redoc_url=None,
        title="Insights Platform API",
        version=VERSION,
        lifespan=lambda _app: _running(assembly, open_requests),
        redirect_slashes=False,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(
                RequestLog, observe=services.metrics.request_answered, open_requests=open_requests
            ),
            Middleware(
                Admission,
                api_keys=api_keys,
                limits=services.inbound_limits,
                pages=WebPages(settings.allowed_hosts),
            ),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
            Middleware(
                DirectRoutes,
                routes=[
                    *conversations.direct.routes,
                    *insights.direct.routes,
                    *operations.direct.routes,
                ],
            ),
        ],
    )
    app.state.services = services
    for made in app.router.routes:  # the document, and the files of the pages that show it
        assert isinstance(made, Route | Mount)
        open_to_all()(made.endpoint if isinstance(made, Route) else made.app)
    # Not `include_router`: one flat list, ours first, is matched faster than a tree.
    for router in (
        docs.router,
        dashboard.router,
        analysis_versions.router,
        insights.router,
        insights.direct,
        authors.router,
        handling.router,
        plans.router,
        labels.router,
        rules.router,
        endpoints.router,
        alert_rules.router,
        alerts.router,
        reports.router,
        conversations.router,
        operations.router,
        operations.direct,
        conversations.direct,
    ):
        app.router.routes[:0] = router.routes
    add_error_handlers(app)
    describe(
        app,
        settings.max_text_length,
        limited=services.inbound_limits is not None,
        with_keys=bool(api_keys),
    )
    return app


@asynccontextmanager
async def _running(assembly: Assembly, open_requests: OpenRequests) -> AsyncIterator[None]:
    share_heaps()
    services = assembly.services
    worker = services.worker
    shutdown = Shutdown(
        grace=services.settings.shutdown_grace,
        worker=worker,
        courier=services.courier,
        open_requests=open_requests,
        end_streams=services.stream.close,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(services.database.close)
        stack.enter_context(shutdown.on_signals())
        if not await shutdown.completes(_open(assembly)):
            yield  # to a server that has been told to stop, and serves nothing
            return
        stack.push_async_callback(services.conversations.drained)
        stack.push_async_callback(assembly.queue.drained)
        stack.push_async_callback(services.analyser.aclose)
        if assembly.redis is not None:
            stack.push_async_callback(assembly.redis.aclose)
        if (heartbeat := services.heartbeat) is not None:
            await heartbeat.start(on_newer_schema=assembly.stop_claiming)
            stack.push_async_callback(heartbeat.stop)
        if assembly.hints is not None:
            listeners = {CONVERSATIONS: services.wake_worker, INSIGHTS: services.stream.wake}
            assembly.hints.start(listeners)
            stack.push_async_callback(assembly.hints.stop)
        if worker is not None:
            worker.start()
        if services.courier is not None:
            services.courier.start()
        for part in (
            services.plan_worker,
            services.alert_worker,
            assembly.housekeeper,
            assembly.statistics,
            services.backups,
        ):
            if part is not None:
                part.start()
                stack.push_async_callback(part.stop)
        if heartbeat is not None and heartbeat.schema_is_newer:  # since before the others began
            assembly.stop_claiming()
        stack.push_async_callback(shutdown.finish)
        stack.enter_context(_calm_collector())
        _log_start(services)
        yield
    log.info("service_stopped")


async def _open(assembly: Assembly) -> None:
    services = assembly.services
    try:
        if services.backups is not None:
            await services.backups.check_folder()
        await services.database.open()
        await derived.ensure(services.database)
        if services.worker is not None:
            assembly.queue.writer.version = await services.versions.take_up(assembly.asked)
            await services.priorities.take_up(services.settings.priority)
    except ServiceError as error:
        reason = error.details
        log.critical("start_refused", reason=reason)
        # The server logs the exception as well, in several lines.
        server_log = logging.getLogger("uvicorn.error")
        server_log.addFilter(lambda record: reason not in record.getMessage())
        raise StartRefused(reason) from None


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Spare the garbage collector the some 300,000 objects that live as long as the process.

    Looking through them all, again and again, made for pauses of 90 ms and a third of the cost of
    a request. What requests leave behind is nearly all freed by reference counts.
    """
    before = gc.get_threshold()
    gc.freeze()  # without a collection, which takes 80 ms and finds nothing
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _log_start(services: Services) -> None:
    settings = services.settings
    log.info(
        "service_started",
        version=VERSION,
        database=services.database.url.render_as_string(hide_password=True),
        analyser=services.analyser.name,
        model=services.analyser.model,
        worker=settings.worker_enabled,
    )
    if not settings.api_keys:
        log.warning("api_is_open", reason=_who_can_reach_it(settings))
    if services.database.is_sqlite and not settings.worker_enabled:
        log.warning(
            "nothing_is_analysed",
            reason="WORKER_ENABLED is false, and no other process can work on a SQLite file.",
        )
    if services.analyser.notice:
        log.warning("offline_analyser", reason=services.analyser.notice)


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
        for name, meant in misspelt_settings(ENV_FILE, Settings.model_fields):
            log.warning("unknown_setting", reason=f"{name} is no setting. Is {meant} meant?")
        return create_app(settings)
    except StartRefused as error:
        raise SystemExit(f"Cannot start: {error.details}") from None


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_from_environment()
    raise AttributeError(name)
