"""Work beside the requests: told to stop it ends, and if it dies that is in the log."""

import asyncio

from structlog.testing import capture_logs

from worker.background import Background


class _Waiting(Background):
    name = "waiting"

    async def _run(self) -> None:
        await asyncio.Event().wait()


class _Dying(Background):
    name = "dying"

    async def _run(self) -> None:
        raise ValueError("what nobody has thought of")


async def test_it_ends_when_it_is_told_to_and_that_is_no_death() -> None:
    background = _Waiting()
    with capture_logs() as logs:
        background.start()
        await background.stop()

    assert "waiting" not in {task.get_name() for task in asyncio.all_tasks()}
    assert logs == []


async def test_an_error_that_ends_it_is_logged_under_its_name() -> None:
    background = _Dying()
    with capture_logs() as logs:
        background.start()
        await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "dying"])
        await background.stop()

    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["task"]) == (
        "worker_died",
        "critical",
        "dying",
    )
    assert str(entry["exc_info"]) == "what nobody has thought of"


async def test_one_that_has_not_begun_can_be_stopped() -> None:
    await _Waiting().stop()
