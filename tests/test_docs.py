"""The documents tell what is true."""

from pathlib import Path

import pytest

from config import Settings
from vocabulary import BUILT_IN, FILLER

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name.upper()}`" in README


def test_every_module_is_in_the_architecture() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    modules = {path.name for path in ROOT.glob("*.py")} - {"sample_conversations.py"}

    assert {name for name in modules if f"`{name}`" not in architecture} == set()


def test_the_page_on_topics_has_the_list_and_the_words_that_do_not_count() -> None:
    page = (ROOT / "docs" / "topics.md").read_text()

    assert [f"| `{name}` | {meaning} |" for name, meaning in BUILT_IN.items()] == [
        line for line in page.partition("## The built-in list")[2].splitlines() if "`" in line
    ]
    assert set(page.replace("|", " ").split()) >= FILLER
