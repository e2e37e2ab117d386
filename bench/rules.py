"""rules: what two hundred of them cost: matched with texts, and as a part of settling.

Beside them, in turn: the words of the same texts being made, which is done for the index anyway,
and settling without a rule. CPU time of this process; of settling, of the quickest transaction.
"""

import asyncio
import random
import time
from datetime import timedelta
from typing import Any

from analysis.labels import Labelling, Values
from analysis.outcomes import Analysis, Complete
from analysis.rules import Post, Rule, RuleBook
from analysis.words import words_of
from bench.report import Report, Samples
from bench.servers import Servers
from database import Database
from models import Lane
from store import derived
from store.conversations import ConversationStore, NewConversation
from store.queue import WorkQueue
from store.rules import MAX_RULES, RuleStore, rule_filter

_TEXTS = 2000
_WORDS = 30_000
_AT_A_TIME = 100
"""Conversations settled in one transaction."""
_MODEL = Values(-0.6, ("delivery_problems",), 0.9)


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    texts = _make_texts()
    matching: list[float] = []
    words: list[float] = []
    settling: list[float] = []
    plain: list[float] = []
    book = RuleBook(
        Rule(number, "rule", rule_filter(_filter(number, texts)), Labelling(sentiment_score=0.0))
        for number in range(1, MAX_RULES + 1)
    )
    for round_ in range(rounds):
        words.append(_cpu_of_words(texts))
        matching.append(_cpu_of_matching(book, texts))
        for rules, taken in ((0, plain), (MAX_RULES, settling)):
            name = servers.folder / f"rules-{round_}-{rules}.db"
            taken.append(asyncio.run(_settle(f"sqlite+aiosqlite:///{name}", rules, texts)))
    with_rules = Samples([each / len(texts) / MAX_RULES * 1e6 for each in matching])
    report.add("rules", "one rule and text", with_rules, "us", below=20)
    ratio = Samples(matching).over(Samples(words))
    report.add("rules", f"{MAX_RULES} rules and a text, of making its words", ratio)
    ratio = Samples(settling).over(Samples(plain))
    report.add("rules", f"settling with {MAX_RULES} rules, of that without", ratio, below=1.05)


def _make_texts() -> list[str]:
    """Eighteen words each, some frequent and most of them rare, as in real texts."""
    draw = random.Random(1)
    words = [f"word{number}" for number in range(_WORDS)]
    weights = [1 / (number + 5) for number in range(_WORDS)]
    return [" ".join(draw.choices(words, weights, k=18)) for _ in range(_TEXTS)]


def _filter(number: int, texts: list[str]) -> dict[str, Any]:
    """Most rules are about words of some text, a few about a topic, or how a word begins."""
    words = random.Random(number).choice(texts).split()
    match number % 10:
        case 0 | 3 | 4:
            return {"q": f'"{words[0]} {words[1]}"', "sentiment": "negative"}
        case 1:
            return {"q": f"{max(words, key=len)}*"}
        case 2:
            return {"cluster": f"topic_{number}"}
        case _:
            return {"q": max(words, key=len)}


def _cpu_of_words(texts: list[str]) -> float:
    started = time.process_time()
    for text in texts:
        words_of(text)
    return time.process_time() - started


def _cpu_of_matching(book: RuleBook, texts: list[str]) -> float:
    posts = [Post(words_of(text), "ann", "en", _MODEL) for text in texts]
    started = time.process_time()
    for post in posts:
        book.labels(post, 0)
    return time.process_time() - started


async def _settle(url: str, rules: int, texts: list[str]) -> float:
    async with Database(url) as database:
        await derived.ensure(database)
        store, queue = RuleStore(database), WorkQueue(database)
        for number in range(rules):
            # None of these matches: writing what a rule says is not what is measured.
            conditions = {**_filter(number, texts), "author": "nobody"}
            await store.create("rule", conditions, {"sentiment": "neutral"}, enabled=True)
        items = [NewConversation(text, author="ann") for text in texts]
        await ConversationStore(database).accept(items, lane=Lane.LIVE)
        taken = []
        for _ in range(0, len(texts), _AT_A_TIME):
            started = time.process_time()
            claim = await queue.claim(
                [Lane.LIVE], look=_AT_A_TIME, take=lambda n: n, lease=timedelta(minutes=5)
            )
            analysis = Analysis(*_MODEL, "It is late.")
            await queue.settle([(item, Complete(analysis)) for item in claim.items])
            taken.append(time.process_time() - started)
        return min(taken)
