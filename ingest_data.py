"""Loads conversations into a running service: the built-in sample, or a CSV.

A client of the HTTP API and of nothing else. A CSV is read as a stream; its columns are found by
name, and those that are neither text, author nor time go along as raw data. A row's idempotency
key is made of its content, so loading the same again stores nothing twice. Rows that cannot be
taken are told with their line and do not stop the others; rows of empty cells are none.

Exit status: 0 all rows accepted, 1 some not, 2 nothing could be done.
"""

import argparse
import csv
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
from pydantic_settings import BaseSettings, SettingsConfigDict

from sample_conversations import SAMPLE

COLUMNS = {
    "text": ("text", "tweet", "content", "body", "message"),
    "author": ("author", "author_id", "name", "user", "username"),
    "timestamp": ("timestamp", "created_at", "tweet_created", "date"),
}
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y")
MAX_CELL = 16 * 1024 * 1024
BATCH_ROWS = 500
BATCH_CHARACTERS = 250_000  # as JSON up to six bytes each, and the service's own limit is 2 MiB
CONNECTION_TRIES, BUSY_TRIES, MAX_WAIT_SECONDS = 4, 60, 120
HINTS = {401: " (set API_KEY)", 403: " (set API_KEY)", 404: " (is API_URL right?)"}


class ClientSettings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")
    api_url: str = "http://localhost:8000"
    api_key: str | None = None


class GivenUp(Exception):
    """Loading cannot go on; says why in one line."""


class Row(NamedTuple):
    """`place` is for people ("line 7"). With a `problem` it is not to be sent."""

    place: str
    body: dict[str, Any]
    problem: str = ""


def sample_rows(now: datetime) -> Iterator[Row]:
    """The sample as of `now`. Its keys leave the times out, so that it is stored only once."""
    for number, (minutes_ago, author, text) in enumerate(SAMPLE, start=1):
        moment = (now - timedelta(minutes=minutes_ago)).isoformat(timespec="seconds")
        body = {"text": text, "author": author, "timestamp": moment}
        yield Row(f"sample {number}", {**body, "idempotency_key": _hash(text, author)})


def csv_rows(path: str) -> Iterator[Row]:
    """Raises GivenUp where the file cannot be read or has no column for the text."""
    csv.field_size_limit(MAX_CELL)
    try:
        # A byte that is not UTF-8 becomes a surrogate, which spoils its own row only.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            lower = [name.lower() for name in names]
            found = {
                field: next((lower.index(name) for name in known if name in lower), -1)
                for field, known in COLUMNS.items()
            }
            if found["text"] < 0:
                raise GivenUp(f"{path}: no column is called {' or '.join(COLUMNS['text'])}")
            while True:
                place = f"line {reader.line_num + 1}"
                try:
                    cells = next(reader)
                    if any(map(str.strip, cells)):
                        yield Row(place, _to_body(names, found, cells))
                except StopIteration:
                    return
                except (csv.Error, ValueError) as error:
                    yield Row(place, {}, str(error))
    except OSError as error:
        raise GivenUp(f"{path}: {error.strerror}") from None


def _to_body(names: list[str], found: dict[str, int], cells: list[str]) -> dict[str, Any]:
    """Raises ValueError with what is wrong with the row."""
    if len(cells) > len(names):  # a comma outside quotes has moved everything
        raise ValueError(f"{len(cells)} cells, but the header names {len(names)} columns")
    if any("\ud800" <= character <= "\udfff" for character in "".join(cells)):
        raise ValueError("not UTF-8")
    row = dict(enumerate(cells))
    body: dict[str, Any] = {f: row.pop(found[f], "").strip() or None for f in COLUMNS}
    if body["text"] is None:
        raise ValueError("the text is empty")
    if body["timestamp"] is not None:
        body["timestamp"] = _convert_time(body["timestamp"])
    raw_data = body["raw_data"] = dict[str, str]()
    for column, cell in row.items():
        known = not names[column] or names[column] in raw_data
        raw_data[f"column_{column + 1}" if known else names[column]] = cell
    return {**body, "idempotency_key": _hash(*body.values())}


def _convert_time(value: str) -> str:
    """ISO 8601 of what is that already or in another known format. Raises ValueError."""
    with suppress(ValueError):
        return datetime.fromisoformat(value.upper()).isoformat()
    for known in TIME_FORMATS:
        with suppress(ValueError):
            return datetime.strptime(value, known).isoformat()  # noqa: DTZ007  # both have %z
    raise ValueError(f"not a time that can be read for sure: {value[:50]}")


def _hash(*content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Loader:
    """Sends rows in batches and counts what becomes of them."""

    def __init__(self, client: httpx.Client, lane: str, sleep: Callable[[float], None]) -> None:
        self._client, self._lane, self._sleep = client, lane, sleep
        self.accepted = self.rejected = 0

    def load(self, rows: Iterable[Row]) -> None:
        """Raises GivenUp; what was accepted until then stays so."""
        batch: list[Row] = []
        room = BATCH_CHARACTERS
        for row in rows:
            if row.problem:
                self._reject(row, row.problem)
                continue
            size = len(str(row.body))
            if batch and (len(batch) == BATCH_ROWS or size > room):
                self._send(batch)
                batch, room = [], BATCH_CHARACTERS
            batch.append(row)
            room -= size
        self._send(batch)

    def _reject(self, row: Row, reason: str) -> None:
        self.rejected += 1
        print(f"{row.place}: {reason}", file=sys.stderr)

    def _send(self, batch: list[Row]) -> None:
        """A batch is taken whole or not at all: the row that is named goes, the rest again."""
        while batch:
            answer = self._post({"conversations": [row.body for row in batch], "lane": self._lane})
            status, details = answer.status_code, _details(answer)
            named = re.match(r"conversations\[(\d+)\]\.?(.*)", details, re.DOTALL)
            if status == 202:
                self.accepted += len(batch)
                return
            if status == 413 and len(batch) > 1:
                self._send(batch[: len(batch) // 2])
                batch = batch[len(batch) // 2 :]
            elif status in (400, 409, 413) and (named or len(batch) == 1):
                row = batch[position := int(named[1]) if named else 0]
                batch = batch[:position] + batch[position + 1 :]
                if status == 409:  # stored before, with another time: a sample of earlier
                    self.accepted += 1
                else:
                    self._reject(row, named[2] if named else details)
            else:
                raise GivenUp(f"the service answers {status}: {details}{HINTS.get(status, '')}")

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """The first answer that is not "come back later". Sending twice stores once."""
        failures = refusals = 0
        while True:
            wait = 2**failures
            try:
                answer = self._client.post("/api/v1/conversations/batch", json=body)
            except httpx.TransportError as error:
                failures += 1
                problem = f"cannot reach {self._client.base_url}: {error!s}"
            else:
                if answer.status_code not in (429, 502, 503, 504):
                    return answer
                refusals += 1
                problem = f"the service answers {answer.status_code}: {_details(answer)}"
                asked = answer.headers.get("retry-after", "")
                wait = max(1, min(int(asked), MAX_WAIT_SECONDS)) if asked.isdecimal() else 2
            if failures == CONNECTION_TRIES or refusals == BUSY_TRIES:
                raise GivenUp(problem)
            print(f"{problem}; trying again in {wait} s", file=sys.stderr)
            self._sleep(wait)


def _details(answer: httpx.Response) -> str:
    with suppress(ValueError, TypeError, LookupError):
        return str(answer.json()["details"])
    return answer.reason_phrase


def main(
    argv: Sequence[str],
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    settings = ClientSettings()
    parser = argparse.ArgumentParser(description="Load conversations into a running service.")
    parser.add_argument("file", nargs="?", help="a CSV in UTF-8; without it the built-in sample")
    parser.add_argument("--url", default=settings.api_url, help="where the API is (API_URL)")
    parser.add_argument("--key", default=settings.api_key, help="the API key (API_KEY)")
    options = parser.parse_args(argv)
    if not re.match(r"https?://", options.url):
        parser.error(f"API_URL must begin with http:// or https://, which {options.url} does not")
    rows = csv_rows(options.file) if options.file else sample_rows(datetime.now(UTC))
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    failure = None
    with httpx.Client(
        base_url=options.url, headers=headers, timeout=30, transport=transport
    ) as client:
        loader = Loader(client, "bulk" if options.file else "live", sleep)
        try:
            loader.load(rows)
        except GivenUp as error:
            failure = error
            print(f"Stopped: {failure}", file=sys.stderr)
    accepted, rejected = loader.accepted, loader.rejected
    if accepted or rejected or not failure:
        print(f"{accepted + rejected} rows read: {accepted} accepted, {rejected} rejected.")
    if failure or rejected:
        return 1 if accepted else 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
