"""The public corpora that the offline model is trained on, and how each is read.

Only corpora whose licence allows it are here: NOTICE names all of them. `repository` is on GitHub;
a folder holds a clone of each, bare or not, as `owner+name` or `owner+name/repo`.
"""

import csv
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NEGATIVE, NEUTRAL, POSITIVE = range(3)
_LABELS = {"negative": 0, "neg": 0, "neutral": 1, "neu": 1, "positive": 2, "pos": 2}
_LITERAL = re.compile(r"\\u([0-9a-fA-F]{4})")


class Example(NamedTuple):
    """`split` is `train`, `val` (for calibration) or `test` (only so that nothing of it is
    trained on, whichever corpus it comes from)."""

    text: str
    label: int
    language: str
    corpus: str
    split: str


@dataclass(frozen=True, slots=True)
class Clone:
    folder: Path
    repository: str
    commit: str

    def _git(self, *arguments: str) -> str:
        base = self.folder / self.repository.replace("/", "+")
        places = (base, base / ".git", base / "repo", base / "repo" / ".git")
        git = next((place for place in places if (place / "HEAD").exists()), None)
        if git is None:
            raise SystemExit(f"{base}: no clone of https://github.com/{self.repository} is there")
        command = ["git", f"--git-dir={git}", *arguments]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode(
            "utf-8", "replace"
        )

    def read(self, path: str) -> str:
        return self._git("show", f"{self.commit}:{path}")

    def names(self, under: str) -> list[str]:
        return self._git("ls-tree", "-r", "--name-only", self.commit, under).splitlines()


def _beside(clone: Clone, texts: str, labels: str) -> Iterator[tuple[str, int]]:
    """A text in each line of one file, its label in the same line of another."""
    found = [line for line in clone.read(labels).split("\n") if line.strip()]
    for text, label in zip(clone.read(texts).split("\n"), found, strict=False):
        yield _unescaped(text), int(label)


def _unescaped(text: str) -> str:
    text = _LITERAL.sub(lambda match: chr(int(match[1], 16)), text)
    return text.replace('\\"', '"').replace('""', '"').strip()


def _semeval(clone: Clone) -> Iterator[Example]:
    for path in clone.names("dataset/Subtask_A/downloaded"):
        for line in clone.read(path).split("\n"):
            parts = line.rstrip("\t\r").split("\t")
            if len(parts) >= 3 and parts[-2] in _LABELS:
                label, text = parts[-2], parts[-1]
            elif len(parts) >= 3 and parts[1] in _LABELS:
                label, text = parts[1], parts[2]
            else:
                continue
            if text.strip() != "Not Available":
                yield Example(_unescaped(text), _LABELS[label], "en", "semeval", "train")


def _tweeteval(clone: Clone) -> Iterator[Example]:
    for split in ("val", "test"):
        base = f"datasets/sentiment/{split}"
        for text, label in _beside(clone, f"{base}_text.txt", f"{base}_labels.txt"):
            yield Example(text, label, "en", "tweeteval", split)


_UMSAB = ("arabic", "english", "french", "german", "hindi", "italian", "portuguese", "spanish")


def _umsab(clone: Clone) -> Iterator[Example]:
    """Of eight languages the two that are SemEval's; the other texts state no licence and are only
    kept out of what is trained on."""
    for language in _UMSAB:
        for split in ("train", "val", "test"):
            allowed = language in ("arabic", "english")
            if split == "train" and not allowed:
                continue
            base = f"data/sentiment/{language}/{split}"
            for text, label in _beside(clone, f"{base}_text.txt", f"{base}_labels.txt"):
                yield Example(text, label, language[:2], "umsab", split if allowed else "test")


_AFRISENTI = {
    "por": "pt", "pcm": "pcm", "arq": "ar", "ary": "ar", "amh": "am", "hau": "ha", "ibo": "ig",
    "kin": "rw", "swa": "sw", "twi": "tw", "tso": "ts", "yor": "yo",
}  # fmt: skip


def _afrisenti(clone: Clone) -> Iterator[Example]:
    for folder, language in _AFRISENTI.items():
        for name, split in (("train", "train"), ("dev", "val"), ("test", "test")):
            for line in clone.read(f"data/{folder}/{name}.tsv").split("\n")[1:]:
                text, _, label = line.rstrip("\r").rpartition("\t")
                if label in _LABELS:
                    yield Example(text, _LABELS[label], language, "afrisenti", split)


def _smsa(clone: Clone) -> Iterator[Example]:
    for name, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        path = f"dataset/smsa_doc-sentiment-prosa/{name}_preprocess.tsv"
        for line in clone.read(path).split("\n"):
            text, _, label = line.rpartition("\t")
            if label in _LABELS:
                yield Example(text, _LABELS[label], "id", "smsa", split)


def _wisesight(clone: Clone) -> Iterator[Example]:
    tests = clone.read("kaggle-competition/test.txt").split("\n")
    labels = clone.read("kaggle-competition/test_label.txt").split("\n")
    for text, label in zip(tests, labels, strict=False):
        if label.strip() in _LABELS:
            yield Example(text, _LABELS[label.strip()], "th", "wisesight", "test")
    for name in ("neg", "neu", "pos"):
        for number, text in enumerate(clone.read(f"{name}.txt").split("\n")):
            split = "val" if number % 20 == 0 else "train"
            yield Example(text, _LABELS[name], "th", "wisesight", split)


_GOOD, _BAD = {5, 8}, {1, 3, 4, 6}
# Languages that the set is used to measure in: nothing of it in them is trained on.
_XED_MEASURED = frozenset("ar cn de es fi fr he it pl pt br ru tr vi zh".split())


def _xed(clone: Clone) -> Iterator[Example]:
    """Emotions by their sign: joy and trust; anger, disgust, fear, sadness."""
    paths = [path for path in clone.names("Projections") if path.endswith(".tsv")]
    for path in [*paths, "AnnotatedData/en-annotated.tsv"]:
        language = Path(path).name.split("-")[0]
        if language in _XED_MEASURED or path == "Projections/en-projections.tsv":
            continue
        for number, line in enumerate(clone.read(path).split("\n")):
            text, _, numbers = line.rstrip("\r").rpartition("\t")
            found = {int(emotion) for emotion in re.findall(r"\d", numbers)}
            if text and found and (found <= _GOOD or found <= _BAD):
                label = POSITIVE if found <= _GOOD else NEGATIVE
                split = "val" if number % 25 == 0 else "train"
                yield Example(text, label, {"tw": "zh"}.get(language, language), "xed", split)
    for number, line in enumerate(clone.read("AnnotatedData/neu_en.txt").split("\n")):
        text = line.partition("\t")[2] or line
        yield Example(text, NEUTRAL, "en", "xed", "val" if number % 25 == 0 else "train")


_BRIGHTER = {
    "deu": "de", "esp": "es", "hin": "hi", "ptbr": "pt", "rus": "ru", "ron": "ro", "swe": "sv",
    "ukr": "uk", "chn": "zh", "eng": "en", "mar": "mr", "afr": "af",
}  # fmt: skip
_EMOTIONS = ("anger", "disgust", "fear", "sadness", "joy", "surprise")


def _brighter(clone: Clone) -> Iterator[Example]:
    base = "task-dataset/semeval-2025-task11-dataset/track_a"
    there = set(clone.names(base))
    for folder, language in _BRIGHTER.items():
        for name, split in (("train", "train"), ("dev", "val"), ("test", "test")):
            if f"{base}/{name}/{folder}.csv" not in there:
                continue
            for row in csv.DictReader(io.StringIO(clone.read(f"{base}/{name}/{folder}.csv"))):
                felt = {each for each in _EMOTIONS if (row.get(each) or "")[:1] == "1"}
                bad = felt - {"joy", "surprise"}
                if not felt:
                    label = NEUTRAL
                elif "joy" in felt and not bad:
                    label = POSITIVE
                elif bad and "joy" not in felt:
                    label = NEGATIVE
                else:
                    continue
                yield Example(row["text"], label, language, "brighter", split)


@dataclass(frozen=True, slots=True)
class Corpus:
    """`at_most` texts of each language are trained on, so that no corpus drowns the others."""

    title: str
    repository: str
    commit: str
    licence: str
    at_most: int
    read: Callable[[Clone], Iterator[Example]]


_BY_4 = "CC BY 4.0"
CORPORA = (
    Corpus(
        "SemEval-2013 to 2016, sentiment in Twitter (Nakov, Rosenthal, Kiritchenko and others)",
        "cbaziotis/datastories-semeval2017-task4",
        "faeee5fd1c2cf38e32179a4676dff53ae01adfa8", "CC BY 3.0", 10**6, _semeval,
    ),
    Corpus(
        "SemEval-2017 task 4 in TweetEval (Rosenthal, Farra, Nakov; Barbieri and others):"
        " its validation texts calibrate, its test texts are left out",
        "cardiffnlp/tweeteval",
        "4fbd22cd78421f05b1ecdb4fc5725bc7a7bd8f66", "CC BY 3.0", 0, _tweeteval,
    ),
    Corpus(
        "SemEval-2017 task 4, Arabic and English, in XLM-T (Rosenthal and others; Barbieri and"
        " others): no other language of that collection",
        "cardiffnlp/xlm-t",
        "874214d64d96599eb869a033c22ec2cc57d19256", "CC BY 3.0", 10**6, _umsab,
    ),
    Corpus(
        "AfriSenti, SemEval-2023 task 12 (Muhammad and others)",
        "afrisenti-semeval/afrisent-semeval-2023",
        "5aec3cfcf87b59f885e98641f72e52182776429d", _BY_4, 1200, _afrisenti,
    ),
    Corpus(
        "SmSA in IndoNLU (Purwarianti, Crisdayanti; Wilie and others)",
        "IndoNLP/indonlu",
        "ce728f6926a36174b9923dfe49d6a6839b6e9bb7", "MIT (README), Apache-2.0 (LICENSE)",
        4000, _smsa,
    ),
    Corpus(
        "Wisesight Sentiment (Suriyawongkul and others)",
        "PyThaiNLP/wisesight-sentiment",
        "c1d063649abc3a6870b5fd1aae26cd1c64bdde7b", "CC0 1.0", 5000, _wisesight,
    ),
    Corpus(
        "XED (Öhman, Pàmies, Kajava, Tiedemann)",
        "Helsinki-NLP/XED",
        "76666d251f147cf518071bef4f8415dab6b96115", _BY_4, 1000, _xed,
    ),
    Corpus(
        "BRIGHTER, SemEval-2025 task 11 (Muhammad and others)",
        "emotion-analysis-project/SemEval2025-Task11",
        "513a7e8bef7ef6370ac416ced97efba338c47c97", _BY_4, 2000, _brighter,
    ),
)  # fmt: skip


_NOTICE = """\
The weights in this folder were computed by tools/train_offline.py from the texts named here. They
hold none of those texts. Thanks to those who published them.

{corpora}

To these come lines made up for this project (tools/made_up_lines). Twitter's terms forbid passing
on tweets, and none are here. Sets whose licence forbids commercial use, asks for the same licence
or is not stated were not used.
"""


def notice() -> str:
    return _NOTICE.format(
        corpora="\n\n".join(
            f"{each.title}\n  https://github.com/{each.repository}\n  at {each.commit}\n"
            f"  licence: {each.licence}"
            for each in CORPORA
        )
    )
