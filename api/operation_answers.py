"""What operators are answered: the shapes of health, readiness, figures and backups."""

from typing import Literal

from analysis.outcomes import TICKS_PER_USD
from config import Scope as KeyScope
from models import Status
from schemas import Shape, ShownTime
from store.ledger import Usage
from worker.schedule import Bound


class Health(Shape):
    status: Literal["ok"] = "ok"


class Ready(Shape):
    """Each check is "ok" or says what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]


class LaneCounts(Shape):
    live: int
    bulk: int


class AnalyserStats(Shape):
    """`answering_model` is the one that answered last, null before the first answer. `notice` is
    for people to see, null where there is nothing to tell."""

    name: str
    model: str
    answering_model: str | None
    notice: str | None


class BreakerStats(Shape):
    """`next_probe_seconds` is null while it is closed."""

    state: Literal["closed", "open"]
    reason: str | None
    next_probe_seconds: float | None


class Spending(Shape):
    """`tokens` has prompt, completion and reasoning; `cached_tokens` are part of it.

    `held_usd` may have been spent besides: calls that are under way, and those of which nobody
    knows what they cost. It counts to the budget.
    """

    calls: int
    tokens: int
    cached_tokens: int
    cost_usd: float
    held_usd: float

    @classmethod
    def of(cls, usage: Usage) -> "Spending":
        return cls(
            calls=usage.calls,
            tokens=usage.prompt_tokens + usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            cost_usd=usage.cost_usd_ticks / TICKS_PER_USD,
            held_usd=usage.held_usd_ticks / TICKS_PER_USD,
        )


class SpendingStats(Shape):
    """Of all processes on the database. Today began at midnight UTC."""

    today: Spending
    total: Spending
    daily_budget_usd: float | None


class ReuseStats(Shape):
    """The share of completed conversations, 0 to 1, that an earlier analysis answered."""

    today_share: float
    total_share: float


class FallbackStats(Shape):
    """Insights that stand in for an answer that could not be used (cluster `unknown`, confidence
    0): how many were completed since midnight UTC and in the last hour. `notice` is for people to
    see, null while no more than one in ten are."""

    today: int
    last_hour: int
    notice: str | None


class DatabaseStats(Shape):
    """`version` is that of SQLite's library, or of PostgreSQL's server."""

    engine: Literal["sqlite", "postgresql"]
    version: str


class ReplicaStats(Shape):
    """`analysing` is how many processes on the database analyse, as far as this one knows; `redis`
    is null where the limits are not shared, `away` while each process keeps to its part of them."""

    analysing: int
    redis: Literal["fine", "away"] | None


class DrillStats(Shape):
    """The last time that a backup was restored to try it. `problem` is null where all was well."""

    at: ShownTime
    backup: str
    seconds: float
    problem: str | None


class BackupStats(Shape):
    """`last` is the newest backup's time, null before the first; `verified`, whether it was checked
    when it was made; `drill` is null before the first."""

    last: str | None
    age_seconds: float | None
    verified: bool
    drill: DrillStats | None


class BackupAccepted(Shape):
    status: Literal["accepted"] = "accepted"
    message: str = "A backup is being made: /api/v1/stats tells when it is there"


class Stats(Shape):
    """`backup` is null where there is no folder for any. `calls_per_second` is over the last ten
    seconds, in this process; `call_limit_per_second` is what is kept to, null where nothing limits
    it. `bound_by` is what keeps the throughput from being higher now; `queue` means that there is
    no more to do. `key_scope` is that of the key that asks, null where none is needed."""

    counts: dict[Status, LaneCounts]
    oldest_pending_seconds: float | None
    completed_last_minute: int
    completed_last_hour: int
    analyser: AnalyserStats
    calls_per_second: float
    call_limit_per_second: float | None
    calls_under_way: int
    bound_by: Bound
    breaker: BreakerStats
    spending: SpendingStats
    reuse: ReuseStats
    fallback: FallbackStats
    database: DatabaseStats
    replicas: ReplicaStats
    backup: BackupStats | None
    key_scope: KeyScope | None
