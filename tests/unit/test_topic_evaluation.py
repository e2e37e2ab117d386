"""Topics against those that people have named: the right figures, and plain words where a file is
not what it should be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluate
from analysis.outcomes import Analysis, Answer
from tests.support.http_helpers import ScriptedAnalyser

ROWS = """\
text,labels
my parcel is late,Late Parcel|Other
I was billed twice,Money
what a day,
it broke and I want my money back,Broken|Money
"""
NAMES = """\
Late Parcel = delivery_problems
Money = billing_problems, refund_request
Broken = Product Issues
"""


def says(clusters: dict[str, tuple[str, ...]]) -> Callable[[str], Answer]:
    return lambda text: Analysis(0.0, clusters[text], 0.5, "")


def run(tmp_path: Path, analyser: ScriptedAnalyser, *more: str) -> tuple[int, dict[str, object]]:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "names.txt").write_text(NAMES)
    arguments = [str(tmp_path / "rows.csv"), "--topics", "labels", *more]
    code = evaluate.main([*arguments, "--json", str(tmp_path / "found.json")], analyser=analyser)
    found = json.loads((tmp_path / "found.json").read_text()) if code == 0 else {}
    return code, found


def test_the_first_topic_counts_and_any_that_people_named_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyser = ScriptedAnalyser(
        answer=says(
            {
                "my parcel is late": ("delivery_problems",),
                "I was billed twice": ("question", "billing_problems"),
                "it broke and I want my money back": ("product_issues", "praise"),
            }
        )
    )
    code, found = run(tmp_path, analyser, "--topic-names", str(tmp_path / "names.txt"))
    assert code == 0
    assert found["count"] == 3  # a row without a topic is left out
    assert found["first"] == pytest.approx(2 / 3)
    assert found["first_two"] == 1.0
    by_topic = found["by_topic"]
    assert isinstance(by_topic, dict)
    assert by_topic["billing_problems"] == {"count": 2, "first": 0.5}
    assert "other" not in by_topic  # a label that the names leave out is no topic
    assert "right topic first          0.667" in capsys.readouterr().out


def test_without_names_a_label_is_a_topic(tmp_path: Path) -> None:
    analyser = ScriptedAnalyser(answer=lambda _: Analysis(0.0, ("late_parcel",), 0.5, ""))
    code, found = run(tmp_path, analyser)
    assert code == 0
    assert found["first"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--text-column", "words"], "no columns words and labels"),
        (["--topic-names", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_is_not_there_is_said_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    code, _ = run(tmp_path, ScriptedAnalyser(), *more)
    assert code == 1
    assert said in capsys.readouterr().err
