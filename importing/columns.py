"""Which column is what: by the names that the usual exports have, or as the user says."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from itertools import islice
from unicodedata import combining, normalize

from importing.dates import Dates, is_number, zone_of
from importing.errors import ImportFailed, RowRejected
from importing.ids import Ids

# The first of them that has anything in it is taken. Compared as `_plain` has them. Those of other
# languages come last; not `data`, which is a day in some and anything else in others.
NAMES: dict[str, tuple[str, ...]] = {
    "text": tuple(
        "text full_text tweet tweet_text content body message sentimenttext post comment"
        " text_original comment_text message_text post_text review_text review_content review_body"
        " review text_display plain_body body_text description_text description caption"
        " post_message status_text sentiment_text mention_text selftext feedback verbatim"
        " hit_sentence opening_text snippet"
        " nachricht kommentar beschreibung texte commentaire mensaje comentario texto mensagem"
        " messaggio commento testo bericht".split()
    ),
    "author": tuple(
        "author username screen_name author_username user_screen_name user_profile user_username"
        " account_acct account_username user author_id name user_name handle from_user account"
        " author_name author_handle author_display_name user_handle sender_name sender from_name"
        " from requester consumer customer reviewer reviewer_name reviewer_nickname profile_name"
        " display_name commenter posted_by account_name full_name nickname customer_name from_id"
        " sender_id requester_id user_id customer_id owner influencer"
        " autor verfasser absender benutzername benutzer kunde auteur utilisateur usuario cliente"
        " autore utente".split()
    ),
    "time": tuple(
        "timestamp created_at tweet_created date datetime time created_date created posted_at"
        " published_at created_utc date_utc date_time created_time created_on date_created"
        " creation_date creation_time posted posted_on date_posted post_date post_time published"
        " published_on publish_date published_date date_published sent_at sent sent_date date_sent"
        " send_time submitted_at submission_date submit_date review_date review_created"
        " review_submit_date_and_time comment_date comment_create_timestamp comment_time"
        " message_date message_time received_at received date_received timestamp_ms timestamp_utc"
        " time_stamp unix_time unix_timestamp unix_review_time date_unixtime epoch ts indexed_at"
        " added_at written_at tweet_date tweet_time at"
        " datum erstellt_am erstellt zeitpunkt zeitstempel date_de_creation horodatage fecha"
        " fecha_de_creacion creado data_de_criacao criado_em data_di_creazione".split()
    ),
    "id": tuple("tweet_id id_str id tweetid status_id message_id".split()),
    "parent": tuple(
        "in_response_to_tweet_id in_reply_to_status_id_str in_reply_to_status_id"
        " in_reply_to_tweet_id in_reply_to_id in_reply_to parent_id reply_to_id"
        " reply_to_message_id referenced_tweets_replied_to_id".split()
    ),
    "thread": tuple(
        "conversation_id session_id thread_id main_tweet_id dialogue_id thread_ts link_id".split()
    ),
    "inbound": ("inbound",),
}
# A text that another column cuts off, whole. The first that is longer is taken.
_WHOLE = tuple("note_tweet_text extended_tweet_full_text full_text".split())
_LIKE_A_TIME = re.compile(
    r"(?:^|_)(?:date|time|datetime|utc|created|posted|published|sent|when|at|on|ts|epoch|day)(?:_|$)"
    r"|timestamp|(?:date|time)$"
)
_HEADER_ZONE = re.compile(
    r"[(\[]([A-Za-z]{1,5}|[A-Za-z]+(?:/[A-Za-z_]+){1,2}|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?)[)\]]"
)
_SEVERAL_ZONES = frozenset("IST BST AST GST SST AMT".split())
NO_COLUMN = "none"
MAX_COLUMNS = 2_000
"""What has more is no table of tweets, and its names alone would fill the memory."""

_SETS = (
    ("Customer Support on Twitter", {"tweet_id", "inbound", "in_response_to_tweet_id"}),
    ("Twitter US Airline Sentiment", {"airline", "text", "airline_sentiment"}),
    ("X API", {"id", "author_id", "text"}),
    ("X archive", {"id_str", "full_text"}),
)
EXPORT = "an export of this service"
_EXPORT_COLUMNS = frozenset(
    "conversation_id timestamp author text sentiment_score clusters confidence reasoning".split()
)
_EXPORT_FIELDS = frozenset("conversation_id timestamp author text grok_analysis".split())

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
    """The names of a file's columns by what they hold; None where it has none.

    `known_as` is the published set or the export that has such columns, or empty. `whole` are
    columns that may hold the text uncut. `clock` has the time of day where `time` has only the day.
    """

    text: str
    author: str | None = None
    time: str | None = None
    id: str | None = None
    parent: str | None = None
    thread: str | None = None
    inbound: str | None = None
    known_as: str = ""
    whole: tuple[str, ...] = ()
    clock: str | None = None

    @property
    def is_export(self) -> bool:
        return self.known_as == EXPORT


def recognise(
    name: str,
    columns: Sequence[str],
    wanted: Mapping[str, str | None],
    *,
    filled: Collection[str],
) -> Columns:
    """Which of a file's `columns` holds what. `name` is the file's, for people.

    `wanted` is the user's choice for some: a column's name or number, or "none". `filled` are the
    columns with a value in the first rows. Raises ImportFailed where no column holds the text or a
    wanted one is not there.
    """
    by_plain_name: dict[str, list[str]] = {}
    for column in columns:
        for plain_name in _plain_names(column):
            by_plain_name.setdefault(plain_name, []).append(column)
    found: dict[str, str | None] = {}
    for what, usual in NAMES.items():
        if choice := wanted.get(what):
            found[what] = _chosen(name, columns, by_plain_name, what, choice)
        else:
            found[what] = _usual(by_plain_name, usual, filled)
    text = found.pop("text")
    if text is None:
        raise ImportFailed(
            f"{name}: no column is called {', '.join(NAMES['text'][:3])} or alike, only:"
            f" {listed(columns)}. Name it with --text-column (by name or number). If the first line"
            " is a row already, add --no-header; if lines of another kind come before the header,"
            " --skip-lines N; if each line is a text, --lines. In JSON, --records NAME names the"
            " list that holds the rows"
        )
    names = set(by_plain_name)
    known_as = next((title for title, signature in _SETS if signature <= names), "")
    if recognise_export(columns):
        known_as = EXPORT
        found.update(id="conversation_id", thread=None)
    whole = [_usual(by_plain_name, (each,), filled) for each in _WHOLE]
    if wanted.get("text"):
        whole = []
    clock = None
    if not wanted.get("time") and "date" in _plain(found["time"] or ""):
        clock = _usual(by_plain_name, ("time", "hour", "post_time", "time_of_day"), filled)
    return Columns(
        text,
        known_as=known_as,
        whole=tuple(each for each in whole if each and each != text),
        clock=clock if clock != found["time"] else None,
        **found,
    )


def _usual(
    by_plain_name: Mapping[str, list[str]],
    usual: Sequence[str],
    filled: Collection[str],
) -> str | None:
    """The first of the usual names that has something in it, else the first."""
    there = [column for each in usual for column in by_plain_name.get(each, ())]
    with_values = (column for column in there if column in filled)
    return next(with_values, there[0] if there else None)


def recognised(columns: Sequence[str]) -> int:
    """How many of text, author, time and id such a header names; 0 without a text."""
    names = {plain_name for column in columns for plain_name in _plain_names(column)}
    there = [what for what in ("text", "author", "time", "id") if names.intersection(NAMES[what])]
    return len(there) if "text" in there else 0


def recognise_export(columns: Iterable[str]) -> bool:
    names = set(columns)
    return names >= _EXPORT_COLUMNS or names >= _EXPORT_FIELDS


@lru_cache(4096)
def names_a_text(column: str) -> bool:
    return not _TEXTS.isdisjoint(_plain_names(column))


_TEXTS = frozenset((*NAMES["text"], *_WHOLE))


def like_a_time(column: str, values: Sequence[str], dates: Dates) -> bool:
    """Whether all that stands in the column are times. Numbers are, where its name says so too."""
    named = bool(_LIKE_A_TIME.search(_camel_apart(column)))
    return bool(values) and all(
        (named or not is_number(value)) and _is_time(value, dates) for value in values
    )


def _is_time(value: str, dates: Dates) -> bool:
    try:
        return dates.undecided(value) or dates.read(value) is not None
    except RowRejected:
        return False


def zone_in(column: str) -> tzinfo | None:
    """The zone that the column's name tells, as in `Date (EST)`; None where it tells none. Raises
    RowRejected where the name is that of several."""
    found = _HEADER_ZONE.search(column)
    if found is None:
        return None
    try:
        return zone_of(found[1])
    except (KeyError, ValueError):
        if found[1] in _SEVERAL_ZONES:
            raise RowRejected(f"{found[1]} is the name of several zones") from None
        return None


def listed(names: Iterable[str], most: int = 8) -> str:
    """For people, who would not read thousands."""
    first = [name[:40] for name in islice(names, most + 1)]
    return ", ".join(first[:most]) + ", ..." * (len(first) > most)


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
    """Small letters without accents, and `_`."""
    if not name.isascii():
        name = "".join(letter for letter in normalize("NFD", name) if not combining(letter))
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _camel_apart(name: str) -> str:
    """`createdAt` is created_at, and `Date (UTC)` is date."""
    without_zone = _HEADER_ZONE.sub("", name)
    return _plain(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", without_zone))


def _plain_names(name: str) -> set[str]:
    return {_plain(name), _camel_apart(name)}


def _chosen(
    name: str,
    columns: Sequence[str],
    by_plain_name: Mapping[str, list[str]],
    what: str,
    choice: str,
) -> str | None:
    if choice in columns:
        return choice
    if found := by_plain_name.get(_plain(choice)):
        return found[0]
    if choice.isdecimal() and 1 <= int(choice) <= len(columns):
        return columns[int(choice) - 1]
    if choice == NO_COLUMN and what != "text":
        return None
    raise ImportFailed(f"{name}: there is no column {choice} (--{what}-column); there are: "
                  f"{listed(columns)}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file's records are to be understood."""

    columns: Columns
    ids: Ids
    dates: Dates
    is_export_csv: bool = False
    """An export of this service as CSV, whose cells are marked against spreadsheets."""
