"""`evaluate.py` and its figures, against a scripted analyser and the offline one."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import evaluate
from analysis.evaluation import (
    CLASSES,
    Judged,
    by_language,
    by_length,
    calibration,
    confusion,
    f1,
    measure,
    script_of,
    wilson,
)
from analysis.outcomes import (
    Analysis,
    Answer,
    Blocked,
    Call,
    CallOutcome,
    Refused,
    TransientFailure,
)
from tests.support.http_helpers import ScriptedAnalyser
from tests.support.paths import SHARED

DATA = SHARED / "data"


def judged(label: str, said: str | None, confidence: float = 0.5, text: str = "text") -> Judged:
    return Judged(text, label, "en", said=said, confidence=confidence)


# --- figures --------------------------------------------------------------------------------------

SOME = [
    judged("negative", "negative"),
    judged("negative", "negative"),
    judged("negative", "neutral"),
    judged("neutral", "negative"),
    judged("positive", None),
]


def test_figures_are_those_of_counting_by_hand() -> None:
    overall = measure("all", SOME)
    assert (overall.count, overall.accuracy) == (5, 0.4)
    assert f1(SOME, "negative") == pytest.approx(2 * 2 / (3 + 3))
    assert overall.macro_f1 == pytest.approx((2 / 3 + 0 + 0) / 3)
    table = confusion(SOME)
    assert table["negative"] == {"negative": 2, "neutral": 1, "positive": 0, "none": 0}
    assert table["positive"]["none"] == 1


def test_a_class_that_nobody_uses_does_not_count() -> None:
    assert f1([judged("neutral", "neutral")], "positive") is None
    assert measure("all", [judged("neutral", "neutral")]).macro_f1 == 1.0


def test_intervals_hold_the_share_and_grow_narrow() -> None:
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=0.001)
    low, high = wilson(800, 1000)
    assert 0.77 < low < 0.8 < high < 0.83
    assert wilson(0, 0) == (0.0, 1.0)


def test_calibration_weighs_how_far_confidence_is_from_being_right() -> None:
    sure = [judged("neutral", "neutral", 0.95)] * 3 + [judged("neutral", "positive", 0.95)]
    unsure = [judged("neutral", "positive", 0.25)] * 4
    bins, error = calibration([*sure, *unsure, judged("neutral", None, 1.0)])
    assert [(one.low, one.count, one.accuracy) for one in bins] == [(0.2, 4, 0.0), (0.9, 4, 0.75)]
    assert error == pytest.approx((0.25 + 0.20) / 2)
    assert calibration([]) == ([], 0.0)


def test_slices() -> None:
    rows = [judged("neutral", "neutral", text="x" * 50), judged("neutral", None, text="x" * 300)]
    assert [(one.name, one.accuracy) for one in by_length(rows)] == [("1-50", 1.0), ("over 280", 0)]
    assert [one.count for one in by_language(rows)] == [2]


@pytest.mark.parametrize(
    ("text", "script"),
    [("late @shop", "Latin"), ("أين طلبي", "Arabic"), ("どこ", "Hiragana"), ("12 !", "No letters")],
)
def test_the_script_stands_in_for_the_language(text: str, script: str) -> None:
    assert script_of(text) == script


# --- the command ----------------------------------------------------------------------------------


class Scripted(ScriptedAnalyser):
    """Says what the text itself says: "+0.8 ..." is that score. "flaky" fails once."""

    def __init__(self) -> None:
        super().__init__(concurrency=2, pack_size=3)
        self.call = Call(CallOutcome.ANSWERED, cost_usd_ticks=10_000_000)

    def answers(self, texts: Sequence[str]) -> list[Answer]:
        earlier = self.texts[: -len(texts)]
        return [self._say(text, text not in earlier) for text in texts]

    def _say(self, text: str, first_time: bool) -> Answer:
        if "refused" in text:
            return Refused("against the rules")
        if "flaky" in text and first_time:
            return TransientFailure("502")
        return Analysis(float(text.split()[0]), ("x",), 0.9, "")


def run(analyser: Scripted, tmp_path: Path, content: str, *argv: str) -> dict[str, object]:
    (tmp_path / "rows.csv").write_text(content)
    result = tmp_path / "found.json"
    status = evaluate.main(
        [str(tmp_path / "rows.csv"), "--json", str(result), *argv],
        analyser=analyser,
    )
    assert status == 0
    found: dict[str, object] = json.loads(result.read_text())
    return found


def test_texts_are_packed_asked_again_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyser = Scripted()
    content = (
        "text,sentiment,lang\n+0.8 a,positive,en\n-0.8 flaky,negative,en\n0.1 c,Neutral,de\n"
        "0.5 d,negative,de\n-0.5 refused,negative,en\n,positive,en\n0 e,unclear,en\n"
    )
    mistakes = tmp_path / "mistakes.csv"
    found = run(analyser, tmp_path, content, "--mistakes", str(mistakes))
    assert found["overall"]["count"] == 5  # type: ignore[index]
    assert found["overall"]["accuracy"] == 0.6  # type: ignore[index]
    assert found["without_answer"] == 1
    assert len(analyser.calls) == 4  # two packs, and what failed in them once more, alone
    assert found["cost_usd"] == pytest.approx(0.004)
    assert max(map(len, analyser.calls)) == 3
    assert len(mistakes.read_text().splitlines()) == 3
    out = capsys.readouterr().out
    assert "analyser scripted (scripted-1)" in out
    assert "counted as wrong: 1 (against the rules)" in out


@pytest.mark.parametrize("labels", [("0", "1", "2"), ("0", "2", "4"), ("-1", "0", "1")])
def test_numbers_stand_for_sentiments(labels: Sequence[str], tmp_path: Path) -> None:
    rows = zip(("-0.9", "0", "0.9"), labels, strict=True)
    content = "text,label\n" + "".join(f"{score} x,{label}\n" for score, label in rows)
    assert run(Scripted(), tmp_path, content)["overall"]["accuracy"] == 1.0  # type: ignore[index]


def test_a_limit_draws_the_same_texts_each_time(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"0 {number},neutral\n" for number in range(100))
    asked = []
    for _ in range(2):
        analyser = Scripted()
        run(analyser, tmp_path, content, "--limit", "10")
        asked.append(sorted(analyser.texts))
    assert asked[0] == asked[1]
    assert len(asked[0]) == 10


def test_an_analyser_that_takes_no_calls_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class WrongKey(Scripted):
        def answers(self, texts: Sequence[str]) -> list[Answer]:
            return [Blocked("the key is wrong") for _ in texts]

    (tmp_path / "rows.csv").write_text("text,label\na,neutral\n")
    assert evaluate.main([str(tmp_path / "rows.csv")], analyser=WrongKey()) == 1
    assert "the key is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("text,mood\na,neutral\n", "--label-column"),
        ("text,label\na,7\n", "--mapping"),
        ("text,label\n,neutral\n", "--mapping"),
    ],
)
def test_what_cannot_be_judged_is_told(
    content: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text(content)
    assert evaluate.main([str(tmp_path / "rows.csv")], analyser=Scripted()) == 1
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "count", "at_least"),
    [
        (["airline/airline_sample.csv"], 1500, 0.55),
        (
            ["tweeteval/val_sample_text.txt", "--labels", "tweeteval/val_sample_labels.txt",
             "--mapping", "tweeteval/mapping.txt"],
            500, 0.5,
        ),
    ],
)  # fmt: skip
def test_the_offline_analyser_on_published_sets(
    arguments: list[str],
    count: int,
    at_least: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (DATA / arguments[0]).exists():
        pytest.skip(f"{DATA / arguments[0]} is not there")
    monkeypatch.chdir(tmp_path)  # where no .env is
    paths = [each if each.startswith("--") else str(DATA / each) for each in arguments]
    assert evaluate.main([*paths, "--json", "found.json"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["overall"]["count"] == count
    assert found["overall"]["accuracy"] > at_least
    assert sum(sum(row.values()) for row in found["confusion"].values()) == count
    assert set(found["classes"]) == set(CLASSES)


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        "very negative|negative|neutral|positive|very positive",
        "Extremely Negative|Negative|Neutral|Positive|Extremely Positive",
        "very_neg|neg|neu|pos|very_pos",
        "1|2|3|4|5",
        "1.0|2.0|3.0|4.0|5.0",
        "1 star|2 stars|3 stars|4 stars|5 stars",
        "★☆☆☆☆|★★|★★★|★★★★|★★★★★",
        "0|1|2|3|4",
        "-2|-1|0|+1|+2",
    ],
)
def test_five_classes_are_taken_as_three(labels: str, tmp_path: Path) -> None:
    scores = ("-0.9", "-0.3", "0", "0.3", "0.9")
    rows = zip(scores, labels.split("|"), strict=True)
    content = "text,label\n" + "".join(f"{score} x,{label}\n" for score, label in rows)
    assert run(Scripted(), tmp_path, content)["overall"]["accuracy"] == 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    "labels", ["0 1", "1 2", "1 2 3", "2 3 4", "0", "1", "0 1 3", "a b", "0 5"]
)
def test_what_labels_stand_for_is_not_guessed(
    labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"0 x,{label}\n" for label in labels.split()))
    assert evaluate.main([str(path)], analyser=Scripted()) == 1
    assert "--mapping FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "mapping",
    ["0 negative\n1 positive\n", "0=neg\n\n1 : very positive", "\ufeff0\tNEGATIVE\n1,pos"],
)
def test_a_mapping_says_what_they_stand_for(mapping: str, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(mapping)
    content = "text,label\n-0.5 x,0\n0.5 x,1.0\n"
    found = run(Scripted(), tmp_path, content, "--mapping", str(tmp_path / "map"))
    assert found["overall"]["accuracy"] == 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("mapping", "mistake"),
    [
        ("0 happy\n", "line 1"),
        ("0\n", "line 1"),
        ("0 negative\n0 positive\n", "line 2: 0 is negative already"),
        ("\n", "no line such as"),
        (None, "No such file"),
        (b"0 n\xe9gatif", "is not UTF-8"),
    ],
)
def test_a_mistake_in_a_mapping_is_one_sentence(
    mapping: str | bytes | None, mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if mapping is not None:
        (tmp_path / "map").write_bytes(mapping.encode() if isinstance(mapping, str) else mapping)
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n0 x,0\n")
    argv = [str(path), "--mapping", str(tmp_path / "map")]
    assert evaluate.main(argv, analyser=Scripted()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert mistake in line


def test_every_row_that_is_left_out_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (
        "text,sentiment,date\n0 a,neutral,20/01/2025\n,neutral,\n0 b,mixed,\n0 c,mixed,\n0 d,,\n"
        '0 e,neutral,3/4/2025,more\n0 "f,irrelevant,\n'
    )
    found = run(Scripted(), tmp_path, content)
    assert found["left_out"] == {
        "the label is mixed": 2,
        "the text is empty": 1,
        "more cells than columns": 1,
        "no label": 1,
        "the label is irrelevant": 1,
    }
    assert "rows left out: 6 (2 the label is mixed; " in capsys.readouterr().out


def test_labels_in_json_are_found(tmp_path: Path) -> None:
    rows = [{"text": "0.5 x", "label": "positive", "created_utc": 1705744800}, {"text": "0 y"}]
    found = run(Scripted(), tmp_path, "\n".join(map(json.dumps, rows)))
    assert found["overall"]["count"] == 1  # type: ignore[index]
    assert found["left_out"] == {"no label": 1}


def test_labels_beside_the_texts_have_to_be_as_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").write_text("0 a\n0 b\n0 c\n")
    for labels in ("neutral\n", "neutral\n" * 4):
        (tmp_path / "labels").write_text(labels)
        argv = [str(tmp_path / "texts"), "--labels", str(tmp_path / "labels")]
        assert evaluate.main(argv, analyser=Scripted()) == 1
        assert "cannot be told" in capsys.readouterr().err


def test_labels_of_two_numbers_from_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = DATA.parent / "cases" / "labels_binary.csv"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANALYZER", "offline")
    assert evaluate.main([str(file)]) == 1
    assert "--mapping FILE" in capsys.readouterr().err
    Path("map").write_text("0 negative\n1 positive\n")
    assert evaluate.main([str(file), "--mapping", "map"]) == 0
    assert "accuracy  1.000" in capsys.readouterr().out
