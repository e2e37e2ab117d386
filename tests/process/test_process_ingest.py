"""`kill -9` of an import at any moment, and the same command again, ends as one clean import."""

import asyncio
import os
import random
import re
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import tile
from tests.support.forks import Fork, fork
from tests.support.http_helpers import submit_batch
from tests.support.service_process import ServiceProcess, until

pytestmark = pytest.mark.slow

SEED = 20250120
KILLS = 5
ROWS = 4_000
SAID = "import.log"


def write_tweets(path: Path) -> None:
    """With threads, replies before what they answer, rows twice, rows without an id, bad rows."""
    draw = random.Random(SEED)
    lines = ["tweet_id,author,created_at,text,in_reply_to,likes"]
    for number in range(1, ROWS + 1):
        moment = f"2020-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        parent = str(number - draw.randrange(1, 6)) if number > 6 and draw.random() < 0.5 else ""
        row = f"{number},user{number % 97},{moment},text {number},{parent},{draw.randrange(9)}"
        kind = draw.random()
        if kind < 0.02:
            lines += [row, row]
        elif kind < 0.04:
            lines.append(f",,,thanks!,,{draw.randrange(3)}")
        elif kind < 0.05:
            lines.append(f"{number},user,{moment},,,")
        else:
            lines.append(row)
    header, *rows = lines
    for start in range(0, len(rows), 50):
        block = rows[start : start + 50]
        draw.shuffle(block)
        rows[start : start + 50] = block
    path.write_text("\n".join([header, *rows]))


def start_import(url: str, file: Path, *options: str) -> Fork:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "API_"}
    (file.parent / SAID).unlink(missing_ok=True)
    return fork(
        "ingest_data",
        [str(file), "--url", url, *options],
        folder=file.parent,
        environment=environment,
        log=file.parent / SAID,
    )


async def whole_import(url: str, file: Path, *options: str) -> str:
    """What it says."""
    await asyncio.to_thread(start_import(url, file, *options).wait)
    return (file.parent / SAID).read_text()


def content(service: ServiceProcess) -> list[tuple[object, ...]]:
    """All that was stored but what differs from run to run: ids, and the moment of loading, which
    is also the time of rows that have none."""
    rows = service.query(
        "SELECT idempotency_key, text, author, raw_data, lane,"
        " CASE WHEN idempotency_key LIKE 'import::%' THEN NULL ELSE timestamp END"
        " FROM conversations"
    )
    return sorted(rows, key=lambda row: str(row[0]))


def account(out: str) -> list[str]:
    """The last lines: how many rows went where, the file of rejected ones, and the page. Which rows
    are accepted and which duplicates depends on what was there before."""
    *_, rows, rejected, page = out.splitlines()
    read, accepted, duplicates, bad = re.findall(r"[\d,]+(?= )", rows.replace(",", ""))
    assert "/dashboard?" in page
    there = int(accepted) + int(duplicates)
    return [read, str(there), bad, rejected, page.partition("/dashboard")[2]]


def reached(service: ServiceProcess, process: Fork, goal: float) -> bool:
    return process.poll() is not None or service.count() >= goal


@pytest.mark.slow(longest=True)
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", [[], ["--conversations"]], ids=["rows", "conversations"])
async def test_killed_anywhere_and_run_again_it_ends_as_one_clean_import(
    mode: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "tweets.csv"
    write_tweets(file)
    async with ServiceProcess(tmp_path, name="clean", worker_enabled=False) as service:
        await service.start()
        url = str(service.client.base_url)
        clean_import = await whole_import(url, file, *mode)
        clean = content(service)
    assert len(clean) > 1000
    assert len({row[0] for row in clean}) == len(clean)

    draw = random.Random(SEED)
    sizes: list[int] = []
    storm = ServiceProcess(
        tmp_path, name="storm", database_file=tmp_path / "storm.db", worker_enabled=False
    )
    async with storm as service:
        await service.start()
        url = str(service.client.base_url)
        for number in range(KILLS):
            process = start_import(url, file, *mode)
            goal = len(clean) * (number + draw.random()) / (KILLS + 1)
            await until(
                partial(reached, service, process, goal), within=60, what="some rows stored"
            )
            if number == KILLS // 2:  # the service goes as well, and the import waits for it
                await service.kill()
                await asyncio.sleep(0.5)
                before = service.count()
                await service.start()
                await until(
                    partial(reached, service, process, before + 1), within=60, what="more rows"
                )
            process.kill()
            process.wait()
            sizes.append(service.count())
        last = await whole_import(url, file, *mode)
        assert content(service) == clean
    assert sum(0 < size < len(clean) for size in sizes) > KILLS / 2, sizes
    assert account(clean_import) == account(last)
    assert [name for name in os.listdir(tmp_path) if "rejected" in name] == [
        "tweets.csv.rejected.csv"
    ]


@with_browser
async def test_the_page_at_the_end_shows_what_was_loaded_and_no_more(
    browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "tweets.csv"
    times = ["2020-01-30T08:26:10Z", "2020-01-31T12:00:00Z", "2020-01-31T23:59:59.5Z"]
    file.write_text("\n".join(["text,date", *(f"late {time},{time}" for time in times)]))
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await submit_batch(service.client, [{"text": "of today"}, {"text": "also of today"}])
        out = await whole_import(str(service.client.base_url), file, "--wait")
        link = out.splitlines()[-1].rpartition(" ")[2]
        async with opened(browser, link) as page:
            await expect(tile(page, "Posts")).to_have_text("3")
            await expect(page.locator("#list-total")).to_have_text("3")
