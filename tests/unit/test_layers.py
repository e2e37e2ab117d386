"""Imports point down the layers that ARCHITECTURE.md names, and nowhere in a circle."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MOST_LINES = 450
STILL_LONGER = {
    "api/connection_guard.py": 474,
    "batch_processor.py": 482,
    "grok_client.py": 472,
}
"""What these may have until they are split; no other module joins them."""
NOT_THE_PRODUCT = {"bench", "tests"}

LAYERS = [
    re.findall(r"`([\w/]+)`", row.split("|")[2])
    for row in re.findall(r"^\| \d+ \|.*$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
]
"""From the lowest up. A name is a module or a folder with all in it: `store`, `runtime/logs`."""


def _sources() -> Iterator[Path]:
    """Paths of the product's modules from the root, such as `store/queue.py`; not those of
    packages that hold nothing but their modules."""
    folders = [path.parent for path in ROOT.glob("*/__init__.py")]
    for path in [*ROOT.glob("*.py"), *(file for each in folders for file in each.rglob("*.py"))]:
        if path.relative_to(ROOT).parts[0] in NOT_THE_PRODUCT:
            continue
        if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1:
            yield path.relative_to(ROOT)


SOURCES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in _sources()
}
"""By the name under which a module is imported."""


@cache
def imported_by(module: str) -> set[str]:
    """The product's modules that this one names, wherever in its text. A package counts for what
    its `__init__` holds, also where only a module in it is named from outside."""
    named = set()
    for node in ast.walk(ast.parse((ROOT / SOURCES[module]).read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            named |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    packages = {name.rpartition(".")[0] for name in named}
    inside = {
        package for package in packages if module == package or module.startswith(f"{package}.")
    }
    return {name for name in (named | packages) - inside if name in SOURCES} - {module}


def place_of(module: str) -> tuple[int, str]:
    """The layer, from 0 up, and the name in it that holds this module."""
    path = SOURCES[module].with_suffix("").as_posix()
    found = [
        (len(name), layer, name)
        for layer, names in enumerate(LAYERS)
        for name in names
        if f"{path}/".startswith(f"{name}/")
    ]
    assert found, f"ARCHITECTURE.md names no layer for {SOURCES[module]}"
    _, layer, name = max(found)
    return layer, name


def test_every_module_has_a_place_and_every_place_a_module() -> None:
    held = {place_of(module)[1] for module in SOURCES}

    assert held == {name for names in LAYERS for name in names}
    assert len(SOURCES) > 100


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_point_down(module: str) -> None:
    layer, name = place_of(module)
    places = {each: place_of(each) for each in imported_by(module)}

    assert [each for each, (below, its) in places.items() if its != name and below >= layer] == []


def test_imports_have_no_circle() -> None:
    try:
        TopologicalSorter({module: imported_by(module) for module in SOURCES}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_can_be_read_in_one_go(module: str) -> None:
    path = SOURCES[module]
    lines = (ROOT / path).read_text().count("\n")

    assert lines <= STILL_LONGER.get(path.as_posix(), MOST_LINES)
