"""The pure modules of the dashboard, in Node: its tests are in `tests/dashboard`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata"])
def test_the_pure_modules_do_what_their_tests_say(tmp_path: Path, zone: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node is installed, so the dashboard's modules are tried in Chromium only")
    for file in [*ROOT.glob("dashboard/*.js"), *ROOT.glob("tests/dashboard/*.js")]:
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tests = sorted(str(path) for path in tmp_path.glob("*.test.js"))
    assert tests
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", *tests],
        env={**os.environ, "TZ": zone, "LANG": "en_US.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
