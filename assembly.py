"""Which analyser the settings ask for, and how it is set up."""

from collections.abc import Awaitable, Callable

import structlog

from analysis.offline import OfflineAnalyser
from analysis.outcomes import Analyser
from analysis.topics import Topics
from config import Settings
from grok_client import GrokClient
from rate_limiter import CallLimiter, LearnedRate, SlidingWindow, Window
from runtime.environment import Proxy, find_way, trusted_certificates

log = structlog.get_logger(__name__)


def build_analyser(
    settings: Settings,
    *,
    window: Window | None = None,
    yield_to_urgent_write: Callable[[], Awaitable[None]] | None = None,
) -> Analyser:
    """Without I/O, but that certificates are read. `window` is the limit on calls that is shared
    with others, if one is; `yield_to_urgent_write` is what an analyser that works in this process
    does before each text. Raises StartRefused."""
    if not settings.uses_grok:
        return OfflineAnalyser(yield_to_urgent_write)
    assert settings.grok_key is not None
    return GrokClient(
        key=settings.grok_key.get_secret_value(),
        base_url=settings.grok_base_url,
        model=settings.grok_model,
        limiter=CallLimiter(
            window or SlidingWindow(settings.grok_rate_limit, 1.0),
            LearnedRate(settings.grok_rate_limit),
        ),
        concurrency=settings.grok_concurrency,
        timeout=settings.grok_timeout,
        temperature=settings.grok_temperature,
        vocabulary=Topics(settings.clusters, closed=settings.clusters_mode == "closed"),
        pack_size=settings.grok_pack_size,
        proxy=_find_proxy(settings),
        certificates=trusted_certificates(),
    )


def _find_proxy(settings: Settings) -> Proxy | None:
    """For the calls to Grok: the setting's, else the environment's."""
    if settings.grok_proxy:
        proxy: Proxy | None = Proxy(settings.grok_proxy, "GROK_PROXY")
    else:
        proxy, not_tried = find_way(settings.grok_base_url)
        for sentence in not_tried:
            log.warning("proxy_not_tried", reason=sentence)
    if proxy:
        log.info("grok_proxy", proxy=str(proxy))
    return proxy
