"""The topics, and how they are kept from multiplying.

A model left to itself calls one topic `late_delivery` today and `delivery_issue` tomorrow. Three
things hold against that: a fixed list with meanings, the names already in common use, and a small
rule for which names are one topic. docs/topics.md shows the rule to its users.
"""

import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from analysis.injection import starts_a_rule, suspicions
from analysis.outcomes import MAX_CLUSTERS, UNKNOWN_CLUSTER, Sighting
from analysis.parsing import snake_case
from analysis.senders import account

BUILT_IN: Mapping[str, str] = {
    "delivery_problems": "orders or parcels late, lost, damaged on the way",
    "product_issues": "goods or devices faulty, broken, poor, not as described",
    "billing_problems": "wrong or double charges, invoices, failed payments",
    "refund_request": "money back, returns, exchanges, compensation",
    "account_access": "login, password, locked or hacked account, verification",
    "app_or_website_bug": "app, site or update fails, freezes, shows errors",
    "service_outage": "network, power or online service down or very slow",
    "customer_service": "support or staff rude, slow, unhelpful, no answer",
    "cancellation": "the customer wants to cancel or leave",
    "booking_problems": "reservations, seats, tickets, check-in, changes",
    "travel_delays": "flights, trains or rides late, cancelled, missed",
    "luggage_problems": "bags lost, late or damaged",
    "pricing": "prices, fees, discounts, plans, value for money",
    "availability": "out of stock, content missing, not offered here",
    "feature_request": "asks for something new or changed",
    "security_concern": "fraud, scams, data leaks, safety, privacy",
    "question": "asks how, when, where or whether; no complaint",
    "praise": "thanks, compliments, delight",
    "other": "small talk, or nothing that fits a topic",
}

# Words that say that something is wrong or asked, not what it is about.
FILLER = frozenset(
    "issue problem trouble complaint concern difficulty request question query inquiry enquiry"
    " related general late delay delayed slow bad poor and or of the to with for".split()
)

WINDOW = 2000
"""Analyses that are remembered."""
COMMON = 3
"""Analyses among them that make a name one in common use."""
MIN_AUTHORS = 3
MIN_DAYS = 2
"""Of how many, and on how many, a name must have come up before the model is shown it: so no one
person puts words into the prompts of others, nor do a few within a day."""
MAX_LEARNED_LENGTH = 40
MAX_LEARNED_WORDS = 3
MAX_WITNESSED = 5000
"""Names whose authors and days are remembered."""

# Words that a name of a topic does without, and a sentence does not.
_NO_NOUNS = frozenset(
    "is are was were be been am do does did has have had can will would should must may means mean"
    " always never everything everyone everybody nothing nobody everywhere i you we they he she it"
    " this that these those here there my your our their not no yes as from than then if because"
    " granted trust visit click buy go say says said tell treat make made let give"
    " positive negative neutral".split()
)


@dataclass(slots=True)
class _Witnesses:
    """Who wrote, and when, what a name was given to: no more of them than are asked for."""

    authors: set[str] = field(default_factory=set)
    days: set[int] = field(default_factory=set)

    def add(self, sighting: Sighting) -> None:
        author = account(sighting.author or "")
        if author and len(self.authors) < MIN_AUTHORS:
            self.authors.add(author)
        if len(self.days) < MIN_DAYS:
            self.days.add(sighting.day)

    @property
    def suffice(self) -> bool:
        return len(self.authors) >= MIN_AUTHORS and len(self.days) >= MIN_DAYS


class Topics:
    """The fixed topics, and the others that the analyses of late have used.

    Names are snake_case. Fixed names never change into others; with `closed` there are no others.
    """

    def __init__(self, names: Iterable[str], *, closed: bool = False) -> None:
        self._fixed = tuple(dict.fromkeys(filter(None, map(snake_case, names))))
        self._closed = closed
        self._fixed_by_topic = {_topic(name): name for name in reversed(self._fixed)}
        self._learned: deque[tuple[str, ...]] = deque()
        self._counts: defaultdict[frozenset[str], Counter[str]] = defaultdict(Counter)
        self._witnesses: dict[str, _Witnesses] = {}

    @property
    def allowed(self) -> tuple[str, ...] | None:
        """The names that may be used, or None where new ones may come."""
        return self._fixed if self._closed else None

    def prompt_lines(self) -> str:
        """The fixed names with their meanings, one a line: the same text for as long as we live."""
        return "\n".join(
            f"- {name}: {BUILT_IN[name]}" if name in BUILT_IN else f"- {name}"
            for name in self._fixed
        )

    def in_use(self, limit: int = 5) -> tuple[str, ...]:
        """Names outside the fixed list that are in common use, by several authors on several days,
        the most common first."""
        if self._closed:
            return ()
        common = [
            (-count, name)
            for counts in self._counts.values()
            for name, count in counts.items()
            if count >= COMMON and self._is_proven(name)
        ]
        return tuple(name for _, name in sorted(common)[:limit])

    def learn(self, sighting: Sighting) -> None:
        """Remember the names of one analysis, and forget those of one long ago.

        What is learned is shown to the model with later texts, so a name that is long or reads like
        an order is not: a customer may have put it there.
        """
        names = tuple(
            name for name in dict.fromkeys(sighting.clusters) if self._is_to_be_learned(name)
        )
        self._learned.append(names)
        for name in names:
            self._counts[_topic(name)][name] += 1
            witnesses = self._witnesses.pop(name, None) or _Witnesses()
            witnesses.add(sighting)
            self._witnesses[name] = witnesses  # the last that came up is forgotten last
        while len(self._witnesses) > MAX_WITNESSED:
            del self._witnesses[next(iter(self._witnesses))]
        if len(self._learned) > WINDOW:
            for name in self._learned.popleft():
                self._forget(name)

    def merge(self, clusters: Sequence[str]) -> tuple[str, ...]:
        """The names to keep for one analysis: one for each topic, in order, at most 5.

        A topic goes by its fixed name, else by the one most in use, else by the first that is here.
        `("unknown",)` where nothing is left.
        """
        chosen: dict[frozenset[str], str] = {}
        kept: dict[str, None] = {}
        for name in clusters:
            if name not in self._fixed and name != UNKNOWN_CLUSTER:
                topic = _topic(name)
                name = chosen.setdefault(topic, self._known_name(topic) or name)
            if not self._closed or name in self._fixed:
                kept[name] = None
        return tuple(kept)[:MAX_CLUSTERS] or (UNKNOWN_CLUSTER,)

    def listed(self, name: str) -> str | None:
        """The fixed name that this one is, or is another form of; None where there is none."""
        return name if name in self._fixed else self._fixed_by_topic.get(_topic(name))

    def _known_name(self, topic: frozenset[str]) -> str | None:
        if topic in self._fixed_by_topic:
            return self._fixed_by_topic[topic]
        counts = self._counts.get(topic)
        return min(counts, key=lambda name: (-counts[name], name)) if counts else None

    def _is_proven(self, name: str) -> bool:
        witnesses = self._witnesses.get(name)
        return witnesses is not None and witnesses.suffice

    def _is_to_be_learned(self, name: str) -> bool:
        return name not in self._fixed and name != UNKNOWN_CLUSTER and _may_be_a_noun(name)

    def _forget(self, name: str) -> None:
        topic = _topic(name)
        counts = self._counts[topic]
        counts[name] -= 1
        if not counts[name]:
            del counts[name]
        if not counts:
            del self._counts[topic]


@lru_cache(maxsize=WINDOW)  # names come again and again
def _may_be_a_noun(name: str) -> bool:
    """As far as can be told cheaply: few words of one script, no figures, none that only sentences
    and orders have."""
    words = name.split("_")
    return (
        len(name) <= MAX_LEARNED_LENGTH
        and len(words) <= MAX_LEARNED_WORDS
        and not any(character.isnumeric() for character in name)
        and len({_script(letter) for letter in name if letter.isalpha()}) == 1
        and not any(word in _NO_NOUNS or starts_a_rule(word) for word in words)
        and not suspicions(" ".join(words))
    )


def _script(letter: str) -> str:
    script = unicodedata.name(letter, "?").split()[0]
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else script


def _topic(name: str) -> frozenset[str]:
    """What a name is about: its words without endings of the plural, order and filler.

    A name of filler alone keeps its words, so that `questions` is `question` and nothing else is.
    """
    words = frozenset(map(_singular, name.split("_")))
    return words - FILLER or words


def _singular(word: str) -> str:
    if len(word) < 4:
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return re.sub(r"(?<=ch|sh|ss)es$|(?<=[xz])es$|(?<![sui])s$", "", word)
