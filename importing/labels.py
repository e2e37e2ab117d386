"""What the labels of a set stand for: words, numbers or stars become the three classes.

Numbers are taken where only one usual scale fits them. `0` and `1`, or `1` and `2`, are the two
ends of a scale in one set and its lower half in the next: there a mapping is asked for.
"""

import re
from pathlib import Path

from analysis.evaluation import CLASSES
from importing.errors import ImportFailed

NEGATIVE, NEUTRAL, POSITIVE = CLASSES
_FIVE = (NEGATIVE, NEGATIVE, NEUTRAL, POSITIVE, POSITIVE)
_WORDS = {
    "neg": NEGATIVE, "negative": NEGATIVE, "neu": NEUTRAL, "neutral": NEUTRAL,
    "pos": POSITIVE, "positive": POSITIVE,
}  # fmt: skip
_DEGREE = re.compile(
    r"(?:very|extremely|highly|strongly|most(?:ly)?|somewhat|slightly|rather|weakly)[ _-]*"
)
_STARS = re.compile(r"([1-5])(?:\.0)?[ _-]*(?:stars?|/ ?5|of 5|out of 5)")
_STAR_SIGNS = re.compile("(★{1,5})☆{0,4}|(⭐{1,5})")

# A set has to use both ends of one of them, and all three of a short one.
_THREE = (("0", "1", "2"), ("-1", "0", "1"))
_SCALES = (
    ("1", "2", "3", "4", "5"),  # stars
    ("0", "1", "2", "3", "4"),  # also where only 0, 2 and 4 are used, as in Sentiment140
    ("-2", "-1", "0", "1", "2"),
)

_LINE = re.compile(
    rf"(.+?)(?<![\s=:,;])[\s=:,;]++((?:{_DEGREE.pattern})?(?:{'|'.join(_WORDS)}))", re.IGNORECASE
)
MAX_SHOWN = 10


def classes_of(labels: set[str], mapping: str | None) -> dict[str, str]:
    """The class that each label stands for; without those that stand for none. `mapping` is the
    path of a file. Raises ImportFailed."""
    if mapping is not None:
        return read_mapping(mapping)
    words = {label: found for label in labels if (found := _by_word(label))}
    if words:
        return words
    labels = labels - {""}
    for three in _THREE:
        if labels == set(three):
            return dict(zip(three, CLASSES, strict=True))
    if labels == {"-1", "1"}:
        return {"-1": NEGATIVE, "1": POSITIVE}
    for scale in _SCALES:
        if {scale[0], scale[-1]} <= labels <= set(scale):
            return dict(zip(scale, _FIVE, strict=True))
    shown = ", ".join(sorted(label[:40] for label in labels)[:MAX_SHOWN]) or "nothing"
    raise ImportFailed(
        f"the labels are none of {', '.join(CLASSES)}, but {shown}, which leaves open what each"
        f" stands for; say --mapping FILE with a line for each, such as: {min(labels, default='0')}"
        " negative"
    )


def _by_word(label: str) -> str | None:
    """The class that a label names by itself; None where it names none."""
    word = label.strip().lower()
    if found := _STARS.fullmatch(word):
        return _FIVE[int(found[1]) - 1]
    if found := _STAR_SIGNS.fullmatch(word):
        return _FIVE[len(found[1] or found[2]) - 1]
    return _WORDS.get(_DEGREE.sub("", word, count=1) if _DEGREE.match(word) else word)


def plain_label(label: object) -> str:
    """Without what pandas puts to it: `1.0` is 1."""
    text = str("" if label is None else label).strip()
    return re.sub(r"^\+(?=\d)|(?<=\d)\.0+$", "", text)


def read_mapping(path: str) -> dict[str, str]:
    """Lines such as `0 negative` or `so so = neutral`. Raises ImportFailed."""
    classes: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        class_ = _by_word(found[2]) if found else None
        if not found or class_ is None:
            raise ImportFailed(
                f"{path}: line {number}: a label and one of {', '.join(CLASSES)} are needed, not:"
                f" {line.strip()[:60]}"
            )
        label = plain_label(found[1])
        if classes.setdefault(label, class_) != class_:
            raise ImportFailed(f"{path}: line {number}: {label} is {classes[label]} already")
    if not classes:
        raise ImportFailed(f"{path}: has no line such as: 0 negative")
    return classes


def read_lines(path: str) -> list[str]:
    """Raises ImportFailed."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ImportFailed(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ImportFailed(f"{path}: is not UTF-8") from None
