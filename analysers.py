"""Which analyser the settings ask for, and how it is set up."""

from collections.abc import Callable

from analysis import Analyser
from config import Settings
from grok_client import Call, GrokClient
from offline_analyser import OfflineAnalyser
from rate_limiter import CallLimiter, SlidingWindow, Window

CALL_WINDOW_SECONDS = 1.05
"""A second as Grok's side counts it, and what two calls' ways there may differ by."""


def build_analyser(
    settings: Settings,
    *,
    window: Window | None = None,
    on_call: Callable[[Call], None] = lambda _call: None,
) -> Analyser:
    """Without I/O. `window` is the limit on calls that is shared with others, if one is."""
    if not settings.uses_grok:
        return OfflineAnalyser()
    assert settings.grok_key is not None
    return GrokClient(
        key=settings.grok_key.get_secret_value(),
        base_url=settings.grok_base_url,
        model=settings.grok_model,
        limiter=CallLimiter(window or SlidingWindow(settings.grok_rate_limit, CALL_WINDOW_SECONDS)),
        concurrency=settings.grok_concurrency,
        timeout=settings.grok_timeout,
        temperature=settings.grok_temperature,
        clusters=settings.clusters,
        clusters_closed=settings.clusters_mode == "closed",
        on_call=on_call,
    )
