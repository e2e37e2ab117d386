"""Which column is what: by the names that the usual exports have, or as the user says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from importing.stops import GivenUp, Unfit
from importing.times import Dates

# The first of them that a file has is taken. Compared in lower case, with _ for all signs.
NAMES: dict[str, tuple[str, ...]] = {
    "text": tuple(
        "text full_text tweet tweet_text content body message sentimenttext post comment".split()
    ),
    "author": tuple(
        "author username screen_name author_username user_screen_name user author_id name user_name"
        " handle from_user".split()
    ),
    "time": tuple(
        "timestamp created_at tweet_created date datetime time created_date created posted_at"
        " published_at".split()
    ),
    "id": tuple("tweet_id id_str id tweetid status_id message_id".split()),
    "parent": tuple(
        "in_response_to_tweet_id in_reply_to_status_id_str in_reply_to_status_id"
        " in_reply_to_tweet_id in_reply_to_id in_reply_to parent_id reply_to_id"
        " referenced_tweets_replied_to_id".split()
    ),
    "thread": tuple("conversation_id session_id thread_id main_tweet_id dialogue_id".split()),
    "inbound": ("inbound",),
}

_SETS = (
    ("Customer Support on Twitter", {"tweet_id", "inbound", "in_response_to_tweet_id"}),
    ("Twitter US Airline Sentiment", {"airline", "text", "airline_sentiment"}),
    ("X API", {"id", "author_id", "text"}),
    ("X archive", {"id_str", "full_text"}),
)

# Sets that are published without a header, by what their cells look like.
_HEADERLESS = (
    (
        "Sentiment140",
        ("target", "id", "date", "flag", "user", "text"),
        (r"[024]", r"\d+", r".+\d{4}", r"\S+", r"\S+", r".+"),
    ),
    (
        "Customer Support on Twitter",
        ("tweet_id", "author_id", "inbound", "created_at", "text", "response_tweet_id",
         "in_response_to_tweet_id"),
        (r"\d+", r"\S+", r"(?i:true|false)", r".+\d{4}", r".+", r"[\d,]*", r"\d*"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Columns:
    """The name of the column that holds each; None where there is none. `known_as` may be empty."""

    text: str
    author: str | None = None
    time: str | None = None
    id: str | None = None
    parent: str | None = None
    thread: str | None = None
    inbound: str | None = None
    known_as: str = ""


def recognise(name: str, columns: Sequence[str], wanted: Mapping[str, str | None]) -> Columns:
    """`wanted` has the user's choice of some, by name or number. Raises GivenUp without a text."""
    by_plain_name: dict[str, str] = {}
    for column in columns:
        by_plain_name.setdefault(_plain(column), column)
    found: dict[str, str | None] = {}
    for what, usual in NAMES.items():
        if choice := wanted.get(what):
            found[what] = _chosen(name, columns, by_plain_name, what, choice)
        else:
            found[what] = next(
                (by_plain_name[each] for each in usual if each in by_plain_name), None
            )
    text = found.pop("text")
    if text is None:
        shown = ", ".join(columns[:8])[:200]
        raise GivenUp(
            f"{name}: no column is called {', '.join(NAMES['text'][:3])} or alike, only: {shown}."
            " Name it with --text-column (by name or number). If the first line is a row already,"
            " add --no-header; if each line is a text, --lines"
        )
    names = set(by_plain_name)
    known_as = next((title for title, signature in _SETS if signature <= names), "")
    return Columns(text, known_as=known_as, **found)


def recognise_headerless(cells: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """The set's title and its columns' names, where a file's first line is such a row already."""
    for title, names, patterns in _HEADERLESS:
        if len(cells) == len(names) and all(
            re.fullmatch(pattern, cell.strip(), re.DOTALL)
            for pattern, cell in zip(patterns, cells, strict=True)
        ):
            return title, names
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _chosen(
    name: str, columns: Sequence[str], by_plain_name: Mapping[str, str], what: str, choice: str
) -> str:
    if choice in columns:
        return choice
    if found := by_plain_name.get(_plain(choice)):
        return found
    if choice.isdecimal() and 1 <= int(choice) <= len(columns):
        return columns[int(choice) - 1]
    raise GivenUp(f"{name}: there is no column {choice} (--{what}-column); there are: "
                  f"{', '.join(columns)[:200]}")  # fmt: skip


# --- ids ------------------------------------------------------------------------------------------

_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")
_ROUNDED = re.compile(r"\d{15}0{2,}")
_FLOAT = re.compile(r"(\d+)\.0+")
_ID = re.compile(r"[\w.:/@+-]{1,200}")
_NO_ID = frozenset(("", "nan", "none", "null", "nat", "n/a", "<na>", "\\n"))
_TOO_MANY = 0.05
"""Of genuine long ids one in a hundred and fewer ends like a rounded one."""


class Ids:
    """Tells ids from what a spreadsheet made of them."""

    def __init__(self) -> None:
        self.all = self.long = self.scientific = self.rounded = 0
        self.example = ""

    def learn(self, value: object) -> None:
        text = _id_text(value)
        if text.lower() in _NO_ID:
            return
        self.all += 1
        self.long += text.isdecimal() and len(text) >= 17
        scientific, rounded = _SCIENTIFIC.fullmatch(text), _ROUNDED.fullmatch(text)
        self.scientific += scientific is not None
        self.rounded += rounded is not None
        if scientific or rounded:
            self.example = self.example or text

    @property
    def ruined(self) -> bool:
        """Most of them are: no row can be told from another by such."""
        return self.scientific + self._rounded_for_sure > self.all / 2

    @property
    def _rounded_for_sure(self) -> int:
        return self.rounded if self.rounded > self.long * _TOO_MANY else 0

    def read(self, value: object) -> str | None:
        """None where there is none. Raises Unfit where it is none any more."""
        text = _id_text(value)
        if text.lower() in _NO_ID:
            return None
        if _SCIENTIFIC.fullmatch(text):
            raise Unfit(f"the id {text} lost its digits in a spreadsheet")
        if self._rounded_for_sure and _ROUNDED.fullmatch(text):
            raise Unfit(f"the id {text} was rounded by a spreadsheet")
        if not _ID.fullmatch(text):
            raise Unfit(f"not an id: {text[:50]}")
        return text


def _id_text(value: object) -> str:
    """Without what pandas (`3.0`) and spreadsheet users (`'12`) put to it."""
    text = "" if value is None else str(value).strip().removeprefix("'")
    found = _FLOAT.fullmatch(text)
    return found[1] if found else text


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file's records are to be understood."""

    columns: Columns
    ids: Ids
    dates: Dates
