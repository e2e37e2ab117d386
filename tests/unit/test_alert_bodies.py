"""What the bodies of alert rules cost to check."""

import zoneinfo

import pytest

from api import alert_bodies
from api.alert_bodies import Quiet


def test_the_folder_of_time_zones_is_walked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = []

    def walk() -> set[str]:
        walks.append(1)
        return zoneinfo.available_timezones()

    monkeypatch.setattr(alert_bodies, "available_timezones", walk)
    for _ in range(3):
        Quiet.model_validate({"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"})
    assert len(walks) <= 1
