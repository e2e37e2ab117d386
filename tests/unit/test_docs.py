"""The documents tell what is true, and so do the files that settings travel through."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.topics import BUILT_IN, FILLER
from config import Settings, load_settings
from main import create_app
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


def test_the_readme_has_the_true_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults, named = load_settings(_env_file=None), set()
    for row in re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| (.*?) ?\| ", README, re.M):
        names, values = (each.replace("`", "").split(", ") for each in row)
        named |= {name for name, value in zip(names, values, strict=True) if value}
        for name, value in zip(names, values, strict=True):
            if name != "CLUSTERS":  # a list that has a page of its own
                monkeypatch.setenv(name, value)

    assert load_settings(_env_file=None) == defaults
    is_set = {name.upper() for name in Settings.model_fields if getattr(defaults, name)}
    assert is_set - {"PRIORITY"} <= named  # whose weights are in its text


def test_the_readme_names_every_part_of_every_path() -> None:
    rows = "".join(re.findall(r"^\| .*`.*/.*$", README, re.M))
    paths = create_app(load_settings(_env_file=None)).openapi()["paths"]
    parts = {part for path in paths for part in path.split("/") if part and "{" not in part}

    assert {part for part in parts if not re.search(rf"/{part}\b", rows)} == set()


def test_compose_hands_on_every_setting_of_the_shell_and_nothing_else() -> None:
    listed = re.findall(r"^      ([A-Z_]+):", COMPOSE, re.M)

    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)
    assert "      - path: .env\n        required: false\n" in COMPOSE
    of_uvicorn = ["FORWARDED_ALLOW_IPS"]
    assert listed + of_uvicorn == re.findall(r"^    ([A-Z_]+):", SCALE, re.M)
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


PAGES = [
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bench" / "README.md"]
    if path.name != "CHANGELOG.md"  # which tells of what was
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_only_what_is_there(page: Path) -> None:
    text = (ROOT / page).read_text()
    links = [(page.parent / link).as_posix() for link in re.findall(r"\]\(([^)#:]+)[)#]", text)]
    names = re.findall(r"`((?:\w+/)*\w+\.(?:py|js|css|html|md|sh|txt)|(?:\w+/)+)`", text)
    tests = [f"tests/*/{name}.py" for name in re.findall(r"`(test_\w+)`", text)]
    commands = re.findall(r"python -m ((?:tools|tests|bench)[\w.]*\w)", text)

    wanted = [*links, *names, *tests, *(f"{each.replace('.', '/')}*" for each in commands)]
    assert [each for each in wanted if not any(_found(each))] == []
    targets = re.findall(r"(?:`|\$ )make ([a-z-]+)", text)
    assert set(targets) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def _found(name: str) -> Iterator[Path]:
    """From the root, or where the page names a module of the folder it is speaking of."""
    name = os.path.normpath(name)
    yield from ROOT.glob(name)
    if "/" not in name:
        yield from ROOT.glob(f"*/{name}")


@pytest.mark.parametrize("folder", ["notices", "store/backups", "store/derived", "store/plans"])
def test_a_folder_names_the_modules_that_it_has(folder: str) -> None:
    listed = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""

    modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\w+\.py", listed)) == modules


def test_the_page_on_topics_has_the_list_and_the_words_that_do_not_count() -> None:
    page = (ROOT / "docs" / "topics.md").read_text()

    assert [f"| `{name}` | {meaning} |" for name, meaning in BUILT_IN.items()] == [
        line for line in page.partition("## The built-in list")[2].splitlines() if "`" in line
    ]
    assert set(page.replace("|", " ").split()) >= FILLER
