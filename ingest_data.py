"""Loads conversations into a running service: a file in nearly any form, or the built-in sample.

    python ingest_data.py tweets.csv --dry-run     # what it would do
    python ingest_data.py tweets.csv               # do it; stopped anywhere, do it again
    python ingest_data.py twcs.csv --conversations --wait

A client of the HTTP API and of nothing else; `importing/` is what it is made of. A row's key is
made of its content, so loading the same again stores nothing twice, and no state is kept.

Exit status: 0 complete, 1 some rows or the end of the file are missing, 3 nothing was loaded,
2 wrong usage, 130 stopped by Ctrl-C.
"""

import argparse
import os
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import StartRefused
from importing import report
from importing.api_client import ApiClient
from importing.columns import NAMES
from importing.errors import ImportFailed, no_room
from importing.files import Source, opened
from importing.period import Period
from importing.pipeline import Options, Pipeline
from importing.records import Record, SkippedLines
from importing.rejected import RejectedRows, default_path
from importing.report import Progress, Tally
from importing.rows import Item, digest_of, make_item, make_key
from importing.sample import SAMPLE
from importing.sender import Sender, Sent
from importing.wait import OwnPosts, SentIds, count_failed, summary, wait_until_analysed
from runtime.environment import read_env_file
from runtime.plurals import counted
from runtime.proxies import choose_proxy, is_possible_address, trusted_certificates
from runtime.variables import plain

COMPLETE, PARTIAL, NOTHING = 0, 1, 3


class ClientSettings(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")
    api_url: str = "http://localhost:8000"
    api_key: str | None = None


def sample_items(now: datetime) -> Iterator[Item]:
    """The sample as of `now`. Its keys leave the times out, so that it is stored only once."""
    for number, (minutes_ago, author, text) in enumerate(SAMPLE, start=1):
        moment = (now - timedelta(minutes=minutes_ago)).isoformat(timespec="seconds")
        yield make_item(
            [Record(number, {"text": text})],
            make_key("sample", digest_of(text, author)),
            text,
            author=author,
            time=moment,
            raw_data=None,
        )


def main(
    argv: Sequence[str],
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    try:
        from_file: dict[str, Any] = read_env_file(".env", ClientSettings.model_fields)
        settings = ClientSettings(**from_file)
        certificates = trusted_certificates()
    except StartRefused as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return NOTHING
    parser = _parser(settings)
    options = parser.parse_args(argv)
    options.url, options.key = plain(options.url), plain(options.key or "")
    if not re.match(r"https?://", options.url):
        parser.error(f"API_URL must begin with http:// or https://, which {options.url} does not")
    if not is_possible_address(options.url):
        parser.error(f"API_URL must have a host and a possible port, which {options.url} has not")
    if not re.fullmatch(r"[!-~]*", options.key):
        parser.error("API_KEY must be printable ASCII without blanks")
    if options.file is None and (options.conversations or options.dry_run):
        parser.error("--dry-run and --conversations need a file")
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    choice = choose_proxy(options.url)
    for sentence in choice.skipped:
        print(f"Passed over: {sentence}", file=sys.stderr)
    transport = transport or httpx.HTTPTransport(
        verify=certificates, proxy=choice.proxy.for_client(certificates) if choice.proxy else None
    )
    via = f" by way of the proxy {choice.proxy}" if choice.proxy else ""
    with httpx.Client(
        base_url=options.url, headers=headers, timeout=60, transport=transport
    ) as client:
        load = Import(options, client, sleep, via=via)
        try:
            return load.run()
        finally:
            load.close()


class Import:
    """One run, from the file's first byte to the last line of the account."""

    def __init__(
        self,
        options: argparse.Namespace,
        client: httpx.Client,
        sleep: Callable[[float], None],
        *,
        via: str = "",
    ) -> None:
        """`via` names the proxy between here and the service."""
        self._options, self._sleep = options, sleep
        self._tally = Tally()
        self._progress: Progress | None = None
        self._rejected: RejectedRows | None = None
        self._ids = SentIds()
        self._own = OwnPosts()
        self._without_id = 0  # stored before with other details: the service does not tell which
        # A dry run needs no service, and waits for none.
        patience = 0.0 if options.dry_run else options.patience
        self._api = ApiClient(client, patience=patience, sleep=sleep, say=self._say, via=via)
        self._sender = Sender(self._api, lane="live" if options.file is None else "bulk")

    def close(self) -> None:
        self._ids.close()

    def run(self) -> int:
        """The exit status. What stops it is told on standard error."""
        options, tally = self._options, self._tally
        try:
            failure = self._load_sample() if options.file is None else self._load_file()
        except ImportFailed as error:
            failure = str(error)
        if failure:
            print(f"Stopped: {_on_one_line(failure)}", file=sys.stderr)
        if not tally.accepted + tally.duplicates:
            return NOTHING
        if not options.dry_run:
            if options.wait and not failure:
                failure = self._wait(tally.period)
            print(f"The page that shows them: {tally.period.page(self._api.address)}", flush=True)
        return PARTIAL if failure or tally.rejected else COMPLETE

    def _wait(self, period: Period) -> str:
        """Follow the analysis to its end, then sum up the period.

        Why that cannot be done; empty where it was.
        """
        api, ids = self._api, self._ids
        if self._without_id:
            known = counted(
                self._without_id,
                "conversation was there before, with other details: its",
                "conversations were there before, with other details: their",
            )
            print(f"{known} analysis is not waited for", flush=True)
        try:
            wait_until_analysed(api, ids, say=_print_now, sleep=self._sleep)
            failed = count_failed(api, ids)
            for line in summary(api, period, own=self._own.count(api, period)):
                print(line)
        except ImportFailed as error:
            print(f"Stopped: {error}", file=sys.stderr)
            return str(error)
        if failed:
            print(f"{counted(failed, 'conversation')} could not be analysed; POST"
                  " /api/v1/conversations/retry tries again")  # fmt: skip
        return ""

    # --- the two things that can be loaded ----------------------------------------------------

    def _load_sample(self) -> str:
        """Why it stopped before the end; empty where it did not."""
        tally, failure = self._tally, ""
        try:
            for sent in self._sender.send_all(sample_items(datetime.now(UTC))):
                self._record(sent)  # a sample of another moment is known, with other times
        except ImportFailed as error:
            failure = str(error)
        tally.read = tally.accepted + tally.duplicates + tally.rejected
        if tally.read:
            for line in report.account(tally, Counter(), SkippedLines(), None):
                print(line)
        return failure

    def _load_file(self) -> str:
        """As above. Raises ImportFailed where nothing was begun."""
        options, tally = self._options, self._tally
        with opened(options.file, options.encoding) as source, ExitStack() as stack:
            pipeline = Pipeline(
                source, _pipeline_options(options), tally=tally, reject=self._reject
            )
            stack.callback(pipeline.close)
            for line in pipeline.plan():
                print(_on_one_line(line), flush=True)
            path = default_path(options.file, is_json=pipeline.names is None)
            self._rejected = RejectedRows(
                Path(options.rejected) if options.rejected else path,
                pipeline.names,
                pipeline.delimiter,
            )
            stack.callback(self._rejected.close)
            self._progress = Progress(source.size, name=source.name, tally=tally)
            try:
                failure = self._work(pipeline, source)
            finally:
                self._progress.close()
                self._progress = None
            for line in report.account(
                tally,
                pipeline.reader.mended,
                pipeline.skipped,
                pipeline.links,
                ids_shared=pipeline.ids_shared,
                timed=pipeline.reading.columns.time is not None,
                sent=not options.dry_run,
            ):
                print(line)
            self._write_rejected()
            if options.dry_run:
                stats, problem = None, ""
                try:
                    stats = self._api.get("/api/v1/stats")
                except ImportFailed as error:
                    problem = str(error)
                print(report.estimate(tally, stats, problem))
            return failure

    def _work(self, pipeline: Pipeline, source: Source) -> str:
        """Send, or with --dry-run only count. Why it stopped before the end."""
        tally, progress = self._tally, self._progress
        failures: list[str] = []

        def items() -> Iterator[Item]:
            # What came before the file broke off, or the disk was full, is still sent.
            try:
                for item in pipeline.items():
                    tally.conversations += 1
                    tally.characters += item.text_length
                    yield item
            except ImportFailed as error:
                failures.append(str(error))
            except (OSError, sqlite3.OperationalError) as error:
                failures.append(no_room(error))

        try:
            for sent in self._sent(items()):
                self._record(sent)
                if pipeline.links is None and self._sender.max_text is not None:
                    pipeline.reader.max_text = self._sender.max_text
                if progress:
                    progress.update(source.position())
        except ImportFailed as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(no_room(error))
        return "; ".join(failures)

    def _sent(self, items: Iterator[Item]) -> Iterator[Sent]:
        if self._options.dry_run:
            return (Sent(accepted=[item]) for item in items)
        return self._sender.send_all(items)

    def _record(self, sent: Sent) -> None:
        tally = self._tally
        self._ids.add(sent.ids)
        known = [*sent.replayed, *sent.changed]
        if self._options.wait:
            self._own.add((*sent.accepted, *known))
        self._without_id += len(sent.accepted) + len(known) - len(sent.ids)
        tally.accepted += _rows(sent.accepted)
        tally.changed += _rows(sent.changed)
        tally.known += _rows(known)
        tally.duplicates += _rows(known)
        for item in sorted((*sent.accepted, *known), key=_line_of):
            tally.span(item.time, line=_line_of(item))
        for item, reason in sent.rejected:
            for record in item.records:
                self._reject(record, reason)

    # --- what is told -------------------------------------------------------------------------

    def _reject(self, record: Record, reason: str) -> None:
        self._tally.reject(record, reason)
        if self._rejected:
            self._rejected.add(record, reason)

    def _write_rejected(self) -> None:
        if self._options.dry_run or not self._rejected:
            return
        try:
            if path := self._rejected.write():
                print(f"The rejected rows are in {path}: mend them there and load that file.")
        except OSError as error:
            self._say(f"The rejected rows could not be written ({error}): say --rejected FILE")

    def _say(self, line: str) -> None:
        if self._progress:
            self._progress.say(line)
        else:
            print(line, file=sys.stderr, flush=True)


# --- the command line -----------------------------------------------------------------------------


def _parser(settings: ClientSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Load conversations into a running service.",
        epilog="Exit status: 0 complete, 1 partial, 3 nothing was loaded, 2 wrong usage.",
    )
    add = parser.add_argument
    add("file", nargs="?", help="CSV, TSV, JSON or NDJSON, also gzipped, or xlsx; - is standard"
        " input; without it the built-in sample")  # fmt: skip
    add("--url", default=settings.api_url, help="where the API is (API_URL)")
    add("--key", default=settings.api_key, help="the API key (better: API_KEY)")
    add("--dry-run", action="store_true", help="send nothing, show what would be")
    add("--wait", action="store_true", help="follow the analysis to its end, show what came of it")
    add("--conversations", action="store_true", help="put reply chains together")
    add("--rejected", metavar="FILE", help="where rejected rows go (FILE.rejected.csv)")
    add("--ignore-ids", action="store_true", help="do not use the ids: a spreadsheet ruined them")
    add(
        "--dates",
        choices=("dmy", "mdy", "ymd"),
        help="how 3/4/2015 is meant: day or month first; ymd for 25-01-20",
    )
    add("--encoding", help="where it is read wrongly: cp1250, shift_jis, ...")
    add("--delimiter", type=_delimiter, help="of a CSV, if it is none of , ; | and tab")
    add("--no-header", action="store_true", help="the first line of the CSV is a row already")
    add("--skip-lines", type=_number(int, 0), metavar="N", help="lines of another kind before the"
        " header; those of the usual reports are found")  # fmt: skip
    add("--records", metavar="NAME", help="the list that holds the rows, in JSON with several")
    add("--sheet", metavar="NAME", help="of a workbook with several")
    add("--lines", action="store_true", help="each line of the file is a text")
    for what in NAMES:
        add(
            f"--{what}-column",
            metavar="NAME",
            help="by name or number, or none; found by itself mostly",
        )
    add("--keep-text", action="store_true", help="do not undo &amp;, â€™ and the like")
    add(
        "--max-text",
        type=_number(int, 1),
        metavar="N",
        help="the service's MAX_TEXT_LENGTH (10000)",
    )
    add("--patience", type=_number(float, 0), default=600.0, metavar="S",
        help="seconds to wait for a service that is busy or away (600)")  # fmt: skip
    return parser


def _rows(items: Sequence[Item]) -> int:
    return sum(len(item.records) for item in items)


def _line_of(item: Item) -> int:
    return item.records[0].line


def _on_one_line(line: str) -> str:
    """Names of columns and files may have several."""
    return re.sub(r"\s*[\r\n]+\s*", " ", line)


def _print_now(line: str) -> None:
    print(line, flush=True)


def _delimiter(value: str) -> str:
    value = {"tab": "\t", "\\t": "\t"}.get(value, value)
    if len(value) != 1 or value in '\r\n"':
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return value


def _number(kind: Callable[[str], float], least: int) -> Callable[[str], float]:
    def read(value: str) -> float:
        with suppress(ValueError):
            if (number := kind(value)) >= least:
                return number
        raise argparse.ArgumentTypeError(f"must be a number, {least} or more")

    return read


def _pipeline_options(options: argparse.Namespace) -> Options:
    return Options(
        columns={what: getattr(options, f"{what}_column") for what in NAMES},
        delimiter=options.delimiter,
        header=not options.no_header,
        lines=options.lines,
        dates=options.dates,
        ignore_ids=options.ignore_ids,
        mend=not options.keep_text,
        conversations=options.conversations,
        max_text=options.max_text,
        skip_lines=options.skip_lines,
        records=options.records,
        sheet=options.sheet,
    )


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # signs that a terminal of Windows has not
    try:
        status = main(sys.argv[1:])
        print(end="", flush=True)
        sys.exit(status)
    except OSError as error:
        print(f"Stopped: cannot write: {error}. Run the same command again.", file=sys.stderr)
        os._exit(PARTIAL)  # at once, as what is still to be printed cannot be either
    except KeyboardInterrupt:
        print(
            "Stopped. Run the same command again: what was loaded is not loaded twice.",
            file=sys.stderr,
        )
        os._exit(130)  # at once, though a request may be under way: its rows have their keys
