"""Which analyser the settings ask for, and how it is set up."""

from collections.abc import Awaitable, Callable

import structlog

from analysis import Analyser
from config import Settings
from environment import Proxy, find_way, trusted_certificates
from grok_client import GrokClient
from offline_analyser import OfflineAnalyser
from rate_limiter import CallLimiter, Ceiling, SlidingWindow, Window
from vocabulary import Vocabulary

log = structlog.get_logger(__name__)


def build_analyser(
    settings: Settings,
    *,
    window: Window | None = None,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> Analyser:
    """Without I/O, but that certificates are read. `window` is the limit on calls that is shared
    with others, if one is; `give_way` is what an analyser that works in this process does before
    each text. Raises StartRefused."""
    if not settings.uses_grok:
        return OfflineAnalyser(give_way)
    assert settings.grok_key is not None
    return GrokClient(
        key=settings.grok_key.get_secret_value(),
        base_url=settings.grok_base_url,
        model=settings.grok_model,
        limiter=CallLimiter(
            window or SlidingWindow(settings.grok_rate_limit, 1.0),
            Ceiling(settings.grok_rate_limit),
        ),
        concurrency=settings.grok_concurrency,
        timeout=settings.grok_timeout,
        temperature=settings.grok_temperature,
        vocabulary=Vocabulary(settings.clusters, closed=settings.clusters_mode == "closed"),
        pack_size=settings.grok_pack_size,
        proxy=_find_proxy(settings),
        certificates=trusted_certificates(),
    )


def _find_proxy(settings: Settings) -> Proxy | None:
    """For the calls to Grok: the setting's, else the environment's."""
    if settings.grok_proxy:
        proxy: Proxy | None = Proxy(settings.grok_proxy, "GROK_PROXY")
    else:
        proxy, passed_over = find_way(settings.grok_base_url)
        for sentence in passed_over:
            log.warning("proxy_passed_over", reason=sentence)
    if proxy:
        log.info("grok_proxy", proxy=str(proxy))
    return proxy
