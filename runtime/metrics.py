"""What Prometheus sees. One registry per service, so that two in a process do not mix."""

import time
from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from analysis.outcomes import TICKS_PER_USD, Call, Complete, Fail, Outcome, Requeue, Retry
from store.figures import QueueFigures
from store.ledger import Usage
from store.queue import Claimed

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_CALL_BUCKETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_RATE_SECONDS = 10.0
_ROWS_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._latency = Histogram(
            "http_request_seconds",
            "Time from the request's head to the answer's end.",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._queue = Gauge(
            "conversations", "Conversations stored.", ["status", "lane"], registry=registry
        )
        self._oldest = Gauge(
            "oldest_pending_seconds", "Age of the oldest pending one.", registry=registry
        )
        self._settled = Counter(
            "conversations_settled", "Results written.", ["outcome"], registry=registry
        )
        self._commits = Counter("commits", "Group commits of new conversations.", registry=registry)
        self._rows = Histogram(
            "commit_rows", "Rows per group commit.", buckets=_ROWS_BUCKETS, registry=registry
        )
        self._calls = Counter("grok_calls", "Calls to Grok.", ["outcome"], registry=registry)
        self._call_latency = Histogram(
            "grok_call_seconds",
            "Time that a call to Grok took.",
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter("grok_tokens", "Tokens used.", ["kind"], registry=registry)
        self._cost = Counter("grok_cost_usd", "As billed by Grok, in USD.", registry=registry)
        self._reused = Counter(
            "conversations_reused", "Answered from an earlier analysis.", registry=registry
        )
        self._fallbacks = Counter(
            "conversations_fallback", "Completed without a usable answer.", registry=registry
        )
        self._breaker = Gauge("grok_breaker_open", "1 while it is.", registry=registry)
        self._spent_today = Gauge(
            "grok_spent_today_usd",
            "Since midnight UTC, by all processes on the database.",
            registry=registry,
        )
        self._held_today = Gauge(
            "grok_held_today_usd", "May have been spent besides.", registry=registry
        )
        # Looking a labelled child up costs more than counting on it.
        self._request_counters: dict[tuple[str, str, int], Counter] = {}
        self._latency_by_route: dict[str, Histogram] = {}
        self._calls_made_at: deque[float] = deque(maxlen=10_000)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        counter = self._request_counters.get(key)
        if counter is None:
            counter = self._requests.labels(method, route, str(status))
            self._request_counters[key] = counter
            self._latency_by_route.setdefault(route, self._latency.labels(route))
        counter.inc()
        self._latency_by_route[route].observe(seconds)

    def committed(self, rows: int) -> None:
        self._commits.inc()
        self._rows.observe(rows)

    def settled(self, _claimed: Claimed, outcome: Outcome) -> None:
        names = {Complete: "completed", Fail: "failed", Retry: "retry", Requeue: "requeued"}
        self._settled.labels(names[type(outcome)]).inc()
        if isinstance(outcome, Complete) and "reused_from" in outcome.notes:
            self._reused.inc()
        if isinstance(outcome, Complete) and outcome.analysis.details.get("fallback"):
            self._fallbacks.inc()

    def call_sent(self) -> None:
        self._calls_made_at.append(time.monotonic())

    def call_ended(self, call: Call) -> None:
        self._calls.labels(call.outcome.value).inc()
        self._call_latency.observe(call.seconds)
        self._tokens.labels("prompt").inc(call.prompt_tokens)
        self._tokens.labels("cached").inc(call.cached_tokens)
        self._tokens.labels("completion").inc(call.completion_tokens)
        self._cost.inc((call.cost_usd_ticks or 0) / TICKS_PER_USD)

    def calls_per_second(self) -> float:
        """Over the last ten seconds."""
        since = time.monotonic() - _RATE_SECONDS
        return sum(moment > since for moment in self._calls_made_at) / _RATE_SECONDS

    def render(
        self, queue: QueueFigures | None, usage: Usage | None, *, breaker_open: bool
    ) -> bytes:
        """The text that `/metrics` answers; with None, gauges stay as they were."""
        if queue is not None:
            for (status, lane), count in queue.counts.items():
                self._queue.labels(status.value, lane.value).set(count)
            self._oldest.set(queue.oldest_pending_seconds or 0.0)
        if usage is not None:
            self._spent_today.set(usage.cost_usd_ticks / TICKS_PER_USD)
            self._held_today.set(usage.held_usd_ticks / TICKS_PER_USD)
        self._breaker.set(breaker_open)
        return generate_latest(self.registry)
