"""Whatever Grok does and whoever is killed: each conversation comes to its right end, and the
ledger is the bill."""

from pathlib import Path

import pytest

from tests.fakes.grok.chaos import live_through

pytestmark = pytest.mark.slow


@pytest.mark.slow(longest=True)
@pytest.mark.timeout(300)
async def test_a_day_of_every_fault_and_many_kills_ends_well_and_is_recorded_to_the_tick(
    tmp_path: Path,
) -> None:
    day = await live_through(tmp_path, conversations=200, kills=4, within=60)
    ledger = day.ledger
    print(f"\n{dict(day.outcomes)}, answers by status: {dict(day.calls)}")
    print(
        f"calls: {dict(ledger.outcomes)}; {ledger.recorded_ticks} ticks recorded; of calls without"
        f" an answer {ledger.unknown_ticks} billed, {ledger.unknown_held_ticks} held"
    )
    assert day.faults == []
    # The day was one.
    assert day.outcomes["completed"] > 100
    assert day.outcomes["failed, refused for itself"] > 0
    assert ledger.outcomes["cut_off"] > 0
    assert {"200", "403"} < day.calls.keys()
