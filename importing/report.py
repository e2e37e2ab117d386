"""What is shown to the person who waits: the plan, the progress, the account in the end."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tqdm import tqdm

from importing.period import Period
from importing.records import Record, SkippedLines
from importing.reply_threads import Links
from runtime.plurals import counted

_SHOWN_LINES = 8
_SECONDS_BETWEEN_LINES = 5.0

# What an analysis with Grok takes, for the estimate before anything is sent.
TOKENS_PER_CALL = 185 + 400
"""xAI's own hidden ones, and our prompt."""
CHARACTERS_PER_TOKEN = 4
TOKENS_OUT_PER_CONVERSATION = 80
USD_PER_MILLION_IN, USD_PER_MILLION_OUT = 1.25, 2.50
PACK_SIZE, CALLS_PER_SECOND = 10, 10


_AHEAD = timedelta(days=1)
"""What is less ahead may be a clock or a zone."""
Span = tuple[datetime, datetime]


@dataclass(slots=True)
class Tally:
    """How many rows came to which end; `known` are those of the duplicates that the service had,
    and `changed` those of them with other details than it has. `conversations` and their
    `characters` are those to send; `lines` has the first lines rejected for each reason,
    `future_lines` those of the rows in the future, and `timeless_lines` of those without a time.
    `times` is from the first to the last of what was loaded and is not in the future."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    known: int = 0
    changed: int = 0
    rejected: int = 0
    conversations: int = 0
    characters: int = 0
    times: Span | None = None
    timeless: int = 0
    timeless_lines: list[int] = field(default_factory=list)
    future: int = 0
    future_times: Span | None = None
    future_lines: list[tuple[int, datetime]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)

    @property
    def unsent(self) -> int:
        """Read, and then it had to stop."""
        return self.read - self.accepted - self.duplicates - self.rejected

    def reject(self, record: Record, reason: str) -> None:
        self.rejected += 1
        group = _group(reason)
        self.reasons[group] += 1
        lines = self.lines.setdefault(group, [])
        if len(lines) <= _SHOWN_LINES:
            lines.append(record.line)

    def span(self, time: str | None, *, line: int) -> None:
        """Take a loaded conversation's time, ISO 8601, into the period."""
        if time is None:
            self.timeless += 1
            if len(self.timeless_lines) < _SHOWN_LINES:
                self.timeless_lines.append(line)
            return
        moment = datetime.fromisoformat(time)
        if moment <= datetime.now(UTC) + _AHEAD:
            self.times = _wider(self.times, moment)
            return
        self.future += 1
        self.future_times = _wider(self.future_times, moment)
        if len(self.future_lines) < _SHOWN_LINES:
            self.future_lines.append((line, moment))

    @property
    def period(self) -> Period:
        """Of all that was loaded and has a time; of what lies in the future only where all does: a
        typo in a year would cut off the others. Rows without a time have that of their loading:
        where there are no others, it is the last day."""
        if found := self.times or self.future_times:
            return Period(*found)
        now = datetime.now(UTC)
        return Period(now - timedelta(days=1), now)


def _wider(span: Span | None, moment: datetime) -> Span:
    first, last = span or (moment, moment)
    return min(first, moment), max(last, moment)


def _group(reason: str) -> str:
    """Without what is particular to the row."""
    return re.sub(r"(?<=[a-z]): (?!must ).*| \S*\d\S{3,}(?= (was|lost|is two))", "", reason)


# --- the account ----------------------------------------------------------------------------------


def account(
    tally: Tally,
    mended: Counter[str],
    skipped: SkippedLines,
    links: Links | None,
    *,
    ids_shared: int = 0,
    timed: bool = False,
    sent: bool = True,
) -> Iterable[str]:
    """All that became of the file, the sum of it in the last line. `timed` is a file of which rows
    have times, so that one without is odd."""
    for what, count in mended.most_common():
        yield f"{counted(count, 'text')} {what}"
    if ids_shared:
        rows = counted(ids_shared, "row")
        yield f"{rows} with the id of an earlier one and another text: all are kept"
    if tally.known:
        yield f"{counted(tally.known, 'duplicate')} that the service has already{_changed(tally)}"
    if tally.timeless and timed:
        rows = counted(tally.timeless, "conversation" if links else "row")
        lines = _shown(tally.timeless_lines, tally.timeless)
        get = "it gets that of its" if tally.timeless == 1 else "they get that of their"
        yield f"{rows} without a time ({lines}): {get} loading"
    if tally.future:
        yield _account_of_the_future(tally, "conversation" if links else "row")
    if skipped.blank:
        yield f"{counted(skipped.blank, 'blank row')} passed over"
    if skipped.preamble:
        yield f"{counted(skipped.preamble, 'line')} before the header passed over"
    if skipped.headers:
        yield f"{counted(skipped.headers, 'repeated header')} passed over"
    if links:
        yield from _account_of_links(links)
    if tally.rejected:
        yield "Rejected:"
        width = max(len(f"{count:,}") for count in tally.reasons.values())
        for reason, count in tally.reasons.most_common():
            yield f"  {count:{width},}  {reason} ({_shown(tally.lines[reason], count)})"
    yield (
        # In the same words for any number: this is the line that scripts read.
        f"{tally.read:,} rows read: {tally.accepted:,} {'accepted' if sent else 'good'},"
        f" {tally.duplicates:,} duplicates, {tally.rejected:,} rejected"
        + f", {tally.unsent:,} not sent" * bool(tally.unsent)
        + "."
    )


def _shown(lines: list[int], count: int) -> str:
    """The first of so many."""
    shown = ", ".join(map(str, lines[:_SHOWN_LINES])) + ", ..." * (count > _SHOWN_LINES)
    return f"line{'s' * (count > 1)} {shown}"


def _account_of_the_future(tally: Tally, what: str) -> str:
    shown = "; ".join(f"line {line}, {moment.date()}" for line, moment in tally.future_lines)
    more = "; ..." * (tally.future > len(tally.future_lines))
    lie = counted(tally.future, f"{what} lies", f"{what}s lie")
    are = "it is" if tally.future == 1 else "they are"
    return f"{lie} in the future ({shown}{more}): {are} in no list until then"


def _changed(tally: Tally) -> str:
    if not tally.changed:
        return ""
    which = "" if tally.changed == tally.known else f" {tally.changed:,} of them"
    return f",{which} with other details beside the text: it keeps what it has"


def _account_of_links(links: Links) -> Iterable[str]:
    alone = counted(links.alone, "is a single message", "are a single message")
    yield f"{counted(links.threads, 'thread')}, of which {alone}"
    if links.orphans:
        missing = counted(links.missing, "is", "are")
        yield (
            f"{counted(links.orphans, 'message')} to which the answered one is missing"
            f" ({missing} not in the file): answers to the same one are a thread"
        )
    if links.cycles:
        yield f"{counted(links.cycles, 'chain')} cut that answered itself"
    if links.older:
        yield f"{counted(links.older, 'message')} older than what it answers"
    if links.cut:
        yield f"{counted(links.cut, 'thread')} too long for one conversation, cut into several"


def estimate(tally: Tally, stats: Any, problem: str = "") -> str:
    """Of the analysis: calls, US dollars and time, by what Grok takes from a service with default
    settings. `stats` is what /api/v1/stats answers, None where there is a `problem` with that."""
    count = tally.conversations
    if stats and stats["analyser"]["name"] == "offline":
        return f"{counted(count, 'conversation')} to send, analysed offline: no calls to Grok."
    calls = -(-count // PACK_SIZE)
    tokens_in = calls * TOKENS_PER_CALL + tally.characters / CHARACTERS_PER_TOKEN
    usd = (
        tokens_in * USD_PER_MILLION_IN + count * TOKENS_OUT_PER_CONVERSATION * USD_PER_MILLION_OUT
    ) / 1e6
    time_taken = duration(calls / CALLS_PER_SECOND)
    return (
        f"{counted(count, 'conversation')} to send. With Grok: about {counted(calls, 'call')} of"
        f" {PACK_SIZE}, {usd:,.2f} USD, {time_taken} at {CALLS_PER_SECOND} calls a second"
        f"{f' (by the defaults: {problem})' if problem else ''}."
    )


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# --- progress -------------------------------------------------------------------------------------


class Progress:
    """On a terminal a bar, otherwise a line every few seconds. Goes to standard error."""

    def __init__(self, total_bytes: int, *, name: str, tally: Tally) -> None:
        self._total, self._tally = max(1, total_bytes), tally
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total,
                desc=name,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {postfix}{remaining} left",
                leave=False,
            )

    def update(self, bytes_read: int) -> None:
        now = time.monotonic()
        if self._bar is None and now - self._told < _SECONDS_BETWEEN_LINES:
            return
        self._told = now
        tally = self._tally
        done = tally.accepted + tally.duplicates + tally.rejected
        rate = done / max(0.001, now - self._started)
        duplicates = f"{tally.duplicates:,} duplicates, " if tally.duplicates else ""
        figures = (
            f"{tally.accepted:,} accepted, {duplicates}{tally.rejected:,} rejected,"
            f" {rate:,.0f} rows/s, "
        )
        share = min(1.0, bytes_read / self._total)
        if share == 1.0:  # threads are sent once all of the file has been read
            share = done / max(1, tally.read)
        if self._bar is not None:
            self._bar.postfix = figures
            self._bar.update(int(share * self._total) - self._bar.n)
            return
        left = (now - self._started) * (1 - share) / share if share else 0.0
        self.say(f"{share:4.0%}  {figures}{duration(left)} left")

    def say(self, line: str) -> None:
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
