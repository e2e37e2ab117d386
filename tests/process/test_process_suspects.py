"""Who is to blame for a death: only the text that the worker dies with again, tried by itself."""

from pathlib import Path

import pytest

from tests.fakes.grok.process import grok_process
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

TEXTS = [f"parcel {number} is late" for number in range(50)]
UNFINISHED = "status IN ('pending', 'processing')"


async def test_of_fifty_with_a_killer_among_them_it_alone_fails(tmp_path: Path) -> None:
    texts = TEXTS.copy()
    texts[3] = "the killer"  # its first two deaths take a dozen others with it
    async with ServiceProcess(tmp_path, app="tests.support.deadly_app:app") as service:
        service.launch(worker_enabled="false")
        await service.ready()
        await service.post_batch(texts)
        await service.kill()
        lives = 0
        while lives == 0 or service.count(UNFINISHED):
            lives += 1
            service.launch(worker_enabled="true")
            await until(
                lambda: not service.running or not service.count(UNFINISHED),
                within=30,
                what="all done, or the death of it",
            )
            await service.kill()

        failed = service.query("SELECT text, last_error FROM conversations WHERE status = 'failed'")
        assert failed == [("the killer", "the worker died while analysing this")]
        assert service.count("status = 'completed'") == 49
        assert service.count("deaths > 1") > 1  # others were suspected, and cleared
        assert lives == 4


async def test_kills_in_a_row_in_which_nothing_finishes_fail_none(tmp_path: Path) -> None:
    with grok_process("--latency", "30") as grok:
        async with ServiceProcess(tmp_path, **grok_settings(grok)) as service:
            await service.start(worker_enabled="false")
            await service.post_batch(TEXTS)
            await service.kill()
            for _ in range(4):
                calls = (await look(grok, "counters"))["calls"]
                await service.start(worker_enabled="true")

                async def several_left(before: int = calls) -> bool:
                    return bool((await look(grok, "counters"))["calls"] >= before + 8)

                await until(several_left, within=30, what="calls of this life")
                await service.kill()
            assert service.count("deaths > 0") > 8
            await steer(grok, "defaults", latency=0.02)
            await service.start()
            await until(lambda: not service.count(UNFINISHED), within=30, what="all done")
            assert service.count("status = 'completed'") == len(TEXTS)
