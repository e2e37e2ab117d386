"""Alerts: what becomes of one with each judgement, and what is told of it. Pure, without a clock.

An alert is of one rule and one key, such as a topic. `waiting -> open -> closed`: it opens after
some judgements in a row that breach, and closes after some that are calm, so that a figure on the
edge does not open and close it every minute. Within the cooldown it opens again as the same alert,
and nothing is told unless it has become twice as bad.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from analysis.micros import SECOND
from analysis.quiet_hours import QuietHours

LEAST_AUTHORS = 3
MOST_COPIES = 0.5
"""Of which more are copies of each other, that is no crowd."""
SAMPLE = 200
"""The newest posts of an alert that are looked at one by one, for their authors and copies."""
NOBODY_TO_TELL = "no endpoint that is enabled takes it"
"""Why an alert is held back that would reach nobody."""
WORSE = 2.0
"""How many times its last told peak an alert that opens again must reach to be told again."""


class RuleKind(StrEnum):
    RISING = "rising"
    SHARE = "share"
    COUNT = "count"
    SINGLE = "single"
    MACHINE = "machine"


class AlertState(StrEnum):
    WAITING = "waiting"
    OPEN = "open"
    CLOSED = "closed"


class Notice(StrEnum):
    """What is told of an alert."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Policy:
    """Of a rule: how many judgements in a row open and close, and when nothing is told."""

    hold: int = 1
    clear: int = 3
    cooldown: int = 0
    """In microseconds."""
    quiet: QuietHours | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule finds of one key at one moment; `value` is what its threshold is compared with.

    `held_back` says why a breach is not told. `evidence` is what is shown of a breach.
    """

    key: str
    value: float
    breaches: bool
    held_back: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """`id` is empty before it is stored. Times are in microseconds. `streak` counts judgements in a
    row: breaches while it waits, calm ones while it is open. `closed_at` is of the last time that
    it closed, also while it is open again, unless nobody was told of that. `told_peak` is the peak
    that was told last, at `told_at`. `reported_at` is of the machine alone: the last minute in
    which a process found it."""

    key: str
    id: str = ""
    state: AlertState = AlertState.WAITING
    streak: int = 0
    opened_at: int | None = None
    closed_at: int | None = None
    peak: float | None = None
    told_peak: float | None = None
    told_at: int | None = None
    put_off_until: int | None = None
    held_back: str | None = None
    muted_until: int | None = None
    reported_at: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_told(self) -> bool:
        """Of an open one: whether this opening was told."""
        if self.told_at is None:
            return False
        return self.closed_at is None or self.told_at > self.closed_at


@dataclass(frozen=True, slots=True)
class Change:
    """What an alert becomes, None where nothing is left of it, and what is told of that."""

    alert: Alert | None
    notice: Notice | None = None


def judged(before: Alert | None, judgement: Judgement, now: int, policy: Policy) -> Change:
    """What a judgement at `now` makes of the newest alert of its key; None where there is none.

    An alert whose cooldown is over is not changed by a breach: what is returned is then another
    one, with no `id`.
    """
    if judgement.breaches:
        return _told(_breached(before, judgement, now, policy), now, policy)
    if before is None:
        return Change(None)
    return _calm(before, now, policy)


def _breached(before: Alert | None, judgement: Judgement, now: int, policy: Policy) -> Alert:
    alert = before
    if alert is None or _is_over(alert, now, policy):
        # Who wants to hear nothing of the key is not told by another alert of it.
        muted = None if alert is None else alert.muted_until
        alert = Alert(judgement.key, muted_until=muted)
    peak = judgement.value if alert.peak is None else max(alert.peak, judgement.value)
    if alert.state is AlertState.OPEN:
        news = not alert.is_told or alert.peak is None or judgement.value > alert.peak
        return replace(
            alert,
            streak=0,
            peak=peak,
            held_back=judgement.held_back,
            evidence=judgement.evidence if news and judgement.evidence else alert.evidence,
        )
    streak = alert.streak + 1 if alert.state is AlertState.WAITING else 1
    if streak < policy.hold:
        return replace(alert, state=AlertState.WAITING, streak=streak)
    if alert.put_off_until is not None:
        # That it was over has not been told: to others it was open all along.
        alert = replace(alert, closed_at=None, put_off_until=None)
    return replace(
        alert,
        state=AlertState.OPEN,
        streak=0,
        opened_at=now if alert.opened_at is None else alert.opened_at,
        peak=peak,
        held_back=judgement.held_back,
        evidence=judgement.evidence or alert.evidence,
    )


def _is_over(alert: Alert, now: int, policy: Policy) -> bool:
    """Whether it will not open again; one whose end is still to be told does."""
    return (
        alert.state is AlertState.CLOSED
        and alert.put_off_until is None
        and alert.closed_at is not None
        and now >= alert.closed_at + policy.cooldown
    )


def _calm(before: Alert, now: int, policy: Policy) -> Change:
    match before.state:
        case AlertState.WAITING if before.opened_at is None:
            return Change(None)
        case AlertState.WAITING:
            return Change(replace(before, state=AlertState.CLOSED, streak=0))
        case AlertState.OPEN if before.streak + 1 < policy.clear:
            return _told(replace(before, streak=before.streak + 1), now, policy)
        case AlertState.OPEN:
            # What nobody has heard of is not told to be over.
            told = before.is_told and not _is_muted(before, now)
            alert = replace(
                before, state=AlertState.CLOSED, streak=0, closed_at=now, put_off_until=None
            )
            return _told_to_be_over(alert, now, policy) if told else Change(alert)
        case AlertState.CLOSED if before.put_off_until is None:
            return Change(before)
    # Since then quiet hours may have been changed, and the alert muted.
    if _is_muted(before, now):
        return Change(replace(before, put_off_until=None))
    return _told_to_be_over(before, now, policy)


def _told_to_be_over(alert: Alert, now: int, policy: Policy) -> Change:
    """Once quiet hours let it. With it goes the peak: what is to be told again must be twice as bad
    as that."""
    quiet = quiet_until(policy, now)
    if quiet is not None:
        return Change(replace(alert, put_off_until=quiet))
    return Change(replace(alert, told_peak=alert.peak, put_off_until=None), Notice.CLOSED)


def _told(alert: Alert, now: int, policy: Policy) -> Change:
    """Tell of an open alert what has not been told, unless something is against it."""
    if alert.state is not AlertState.OPEN or not _is_news(alert):
        return Change(alert)
    if alert.held_back is not None or _is_muted(alert, now):
        return Change(replace(alert, put_off_until=None))
    quiet = quiet_until(policy, now)
    if quiet is not None:
        return Change(replace(alert, put_off_until=quiet))
    told = replace(alert, told_peak=alert.peak, told_at=now, put_off_until=None)
    return Change(told, Notice.OPENED)


def told_to_nobody(before: Alert | None, alert: Alert) -> Change:
    """What is left of an opening that nobody takes: it is told once somebody does. `before` is what
    the alert was."""
    told_before = before if before is not None and alert.id else Alert(alert.key)
    told_at, told_peak = told_before.told_at, told_before.told_peak
    return Change(replace(alert, told_at=told_at, told_peak=told_peak, held_back=NOBODY_TO_TELL))


def _is_news(alert: Alert) -> bool:
    if alert.told_peak is None:
        return True
    return not alert.is_told and (alert.peak or 0.0) >= WORSE * alert.told_peak


def _is_muted(alert: Alert, now: int) -> bool:
    return alert.muted_until is not None and now < alert.muted_until


def quiet_until(policy: Policy, now: int) -> int | None:
    """When the quiet hours end that `now` is in."""
    if policy.quiet is None:
        return None
    end = policy.quiet.end_of(datetime.fromtimestamp(now / SECOND, UTC))
    return None if end is None or (until := round(end.timestamp() * SECOND)) <= now else until


def crowd_gate(authors: int, copies: float, *, least_authors: int = LEAST_AUTHORS) -> str | None:
    """Why so few people, or so many copies, are shown but not told; None where they are told."""
    if authors < least_authors:
        return f"fewer than {least_authors} authors"
    if copies > MOST_COPIES:
        return "more than half of the posts are copies of each other"
    return None
