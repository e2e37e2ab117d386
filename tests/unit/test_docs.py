"""The documents tell what is true, and so do the files that settings travel through."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.topics import BUILT_IN, FILLER
from config import Settings, load_settings
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


COMPOSE = (ROOT / "docker-compose.yml").read_text()
SCALE = (ROOT / "compose.scale.yml").read_text().partition("\nservices:")[0]
"""What is the same for all replicas."""
EXAMPLE = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
FOR_OTHERS = {"API_URL", "API_KEY"}
"""Settings of docker-compose.yml itself and of ingest_data.py."""


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_a_row_in_the_readme(name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `")]

    assert any(f"`{name.upper()}`" in row.split(" | ")[0] for row in rows)


def test_compose_hands_on_every_setting_of_the_shell_and_nothing_else() -> None:
    listed = re.findall(r"^      ([A-Z_]+):", COMPOSE, re.M)

    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)
    assert "      - path: .env\n        required: false\n" in COMPOSE
    assert listed == re.findall(r"^    ([A-Z_]+):", SCALE, re.M)
    assert "    - path: .env\n      required: false\n" in SCALE


def test_the_database_of_the_container_is_the_same_in_compose_and_image() -> None:
    image = dict(re.findall(r"(DATABASE_URL|LOG_FORMAT)=(\S+)", (ROOT / "Dockerfile").read_text()))

    assert image == dict(re.findall(r"\$\{(DATABASE_URL|LOG_FORMAT):-([^}]+)\}", COMPOSE))


def test_the_image_gets_every_folder_of_the_product() -> None:
    named = set(re.findall(r"^!(\w+)/$", (ROOT / ".dockerignore").read_text(), re.M))
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench"}

    assert named == folders | {"dashboard"}


def test_the_example_names_settings_that_exist_with_their_true_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(EXAMPLE) - FOR_OTHERS <= {name.upper() for name in Settings.model_fields}
    defaults = load_settings(_env_file=None)
    for name, value in EXAMPLE.items():
        monkeypatch.setenv(name, value)
    assert load_settings(_env_file=None) == defaults
    unset = {name for name, value in EXAMPLE.items() if not value} - FOR_OTHERS
    assert {name for name in unset if getattr(defaults, name.lower())} <= {"CLUSTERS"}


def test_every_module_at_the_root_and_every_folder_is_in_the_architecture() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    modules = {path.name for path in ROOT.glob("*.py")}
    folders = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}

    assert {name for name in modules | folders if f"`{name}`" not in architecture} == set()


@pytest.mark.parametrize("page", ["ARCHITECTURE", "CONTRIBUTING", "README", "SECURITY", "TESTING"])
def test_a_page_names_only_what_is_there(page: str) -> None:
    text = (ROOT / f"{page}.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    names = re.findall(r"`((?:\w+/)*\w+\.(?:py|js|css|html|md|sh)|(?:\w+/)+)`", text)
    tests = [f"tests/*/{name}.py" for name in re.findall(r"`(test_\w+)`", text)]

    wanted = [*links, *names, *tests]
    assert [each for each in wanted if not any(_found(each))] == []


def _found(name: str) -> Iterator[Path]:
    """From the root, or where the page names a module of the folder it is speaking of."""
    yield from ROOT.glob(name)
    if "/" not in name.rstrip("/"):
        yield from ROOT.glob(f"*/{name}")


def test_the_page_on_topics_has_the_list_and_the_words_that_do_not_count() -> None:
    page = (ROOT / "docs" / "topics.md").read_text()

    assert [f"| `{name}` | {meaning} |" for name, meaning in BUILT_IN.items()] == [
        line for line in page.partition("## The built-in list")[2].splitlines() if "`" in line
    ]
    assert set(page.replace("|", " ").split()) >= FILLER
