"""An analyser that needs no key and no network, so that a newcomer sees everything work.

VADER (Hutto and Gilbert, ICWSM 2014) scores the sentiment, a table of keywords names the clusters.
It reads English only and knows nothing of irony: a stand-in for Grok, and it says so each time.
"""

import asyncio
import html
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from analysis.analyser import Throttle
from analysis.outcomes import UNKNOWN_CLUSTER, Analysis, Reply, Sighting

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# A complaint often has no word that a lexicon calls negative ("promised on Monday, still not
# here"), so a topic brings a leaning of its own, used where the words say nothing.
_TOPICS: dict[str, tuple[float, str]] = {
    "delivery_problems": (
        -0.4,
        r"deliver\w*|parcel|package|courier|shipp\w+|shipment|tracking|still waiting|not arrived"
        r"|never arrived|where is my order",
    ),
    "product_issues": (
        -0.4,
        r"broken|broke|defect\w*|faulty|damaged|stopped working|doesn'?t work|not working|cracked"
        r"|overheat\w*|battery",
    ),
    "billing_problems": (
        -0.4,
        r"bill(ed|ing|s)?|charg(e|ed|es|ing) (me|twice|again)|double.?charg\w+|invoice|overcharg\w+"
        r"|charged|payment",
    ),
    "refund_request": (-0.3, r"refund\w*|money back|compensat\w+|reimburs\w+|voucher"),
    "account_access": (
        -0.3,
        r"log ?in|logged out|sign ?in|password|locked out|my account|two.?factor|verification code",
    ),
    "app_or_website_bug": (
        -0.3,
        r"app|website|web ?site|crash\w*|bug|glitch\w*|error message|update|freez\w+|won'?t load",
    ),
    "service_outage": (
        -0.5,
        r"outage|is down|are down|no (internet|signal|service|connection)|offline|wi-?fi",
    ),
    "customer_service": (
        -0.3,
        r"customer (service|support|care)|agent|representative|on hold|no ?(one|body) (answers"
        r"|replies|responds)|hung up|rude|support team|staff|helpful|hours?|on the phone"
        r"|call(ed|ing)? (you|back|them)|no (response|reply|answer)|disconnected",
    ),
    "cancellation": (-0.3, r"cancel\w*|unsubscribe|close my account"),
    "booking_problems": (
        -0.3,
        r"flight\w*|gate|boarding|delay\w*|luggage|bag(s|gage)?|seat\w*|reservation|booking|rebook\w*"
        r"|plane|stranded|tarmac|missed|connecti(on|ng)",
    ),
    "pricing": (0.0, r"price\w*|expensive|cheap\w*|discount|promo\w*|coupon|fee(s)?"),
    "feature_request": (0.1, r"please add|would be (nice|great)|feature|wish (you|it)|dark mode"),
    "security_concern": (-0.5, r"scam\w*|fraud\w*|hack\w*|phishing|stolen|data breach|suspicious"),
    "praise": (
        0.4,
        r"thank(s| you)|love|great|amazing|awesome|best|excellent|perfect|kudos|shout ?out",
    ),
    "question": (0.0, r"how (do|can|to)|when (will|do|does|is)|is there|can (i|you)|\?$"),
}
_PATTERNS = {
    name: (leaning, re.compile(rf"(?:\b|^)(?:{pattern})(?:\b|$)", re.IGNORECASE))
    for name, (leaning, pattern) in _TOPICS.items()
}

# Praise to the word list, and in support the beginning of a complaint: "promised for Monday".
_NO_PRAISE = ("promise", "promised", "promises", "like", "help", "please")

_MENTION_OR_LINK = re.compile(r"https?://\S+|www\.\S+|@\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?\n])\s+")
# VADER's time grows with the square of the length, so it gets sentences of at most this length.
_MAX_SENTENCE = 280
# Up to this many characters the work is done before a thread would have started.
_INLINE_CHARACTERS = 1000
_REST_SECONDS, _REST_TIMES = 0.015, 4
"""Between the beginnings of two calls: so much for writing what they bring, and so many times the
processor time that a call's analyses take."""
_TEXTS_OF_LATE = 50

# Frequent words that the two groups do not share.
_ENGLISH = frozenset(
    "the and you your to is it my for of have not with this was are but just been what when how"
    " can they will why on in at be so we do get from thanks please still as am me an a i if or no"
    " up out now has had would there did don't it's i'm".split()
)
_NOT_ENGLISH = (
    frozenset(
        # Spanish, Portuguese, Italian
        "el los las que de la en por con para una es pero muy gracias mi tu su yo lo te nos"
        " al del más como cuando qué está estoy hola sí porque todo nada aquí eres soy um uma"
        " não meu minha com mas os da em você eu ele ela isso sim obrigado bem estou il che di"
        " non sono ho gli della mio ci cosa come perché grazie bene sei hai questo"
        # French, German, Dutch
        " le les des et est vous je pas pour dans avec sur mon ma où ce ça c'est j'ai une du"
        " au aux suis avez merci bien moi toi nous elle ils quoi pourquoi tout qui der das und"
        " ist nicht ich ein eine mit auf zu sie wir sich auch aber nur wie es den dem im von"
        " für bei noch habe hast bin bist kann mir mich dich uns euch hier ja nein kein keine"
        " het een niet ik dat"
        # Swedish, Finnish, Polish, Turkish
        " jag och att det inte som på är minä sinä hän ei että mitä olen olet mutta niin tämä"
        " oli nyt jos kun jest nie się ty do tak jak co mam bir ve bu çok için ben sen ne var"
        " yok evet ama gibi".split()
    )
    - _ENGLISH
)


class _Rests(Throttle):
    """The analyser shares a process with those who post. Rests leave them two thirds of it or more,
    also where the machine is slow or the texts are long."""

    import_rest = 0.1

    def __init__(self) -> None:
        super().__init__(pack_size=5)  # live posts wait while so many results are written
        self._cpu_seconds = 0.0002  # for a text, of late

    @property
    def call_interval(self) -> float:
        return _REST_SECONDS + _REST_TIMES * self.pack_size * self._cpu_seconds

    def record(self, cpu_seconds: float) -> None:
        """What a text took."""
        self._cpu_seconds += (cpu_seconds - self._cpu_seconds) / _TEXTS_OF_LATE


class OfflineAnalyser:
    """An `Analyser`. Scores in well under a millisecond per tweet; costs nothing."""

    name = "offline"
    model = "vader-3.3.2"
    notice = "The offline analyser is at work: a word list, not Grok."
    reuse_key = f"{model}\n1"

    def __init__(self, yield_to_urgent_write: Callable[[], Awaitable[None]] | None = None) -> None:
        """`yield_to_urgent_write`, before each text, lets others have the process first."""
        self._yield_to_urgent_write = yield_to_urgent_write or partial(asyncio.sleep, 0)
        self.throttle = _Rests()

    def highest_cost(self, texts: Sequence[str]) -> None:
        return None

    def remember(self, recent: Iterable[Sighting]) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        on_sent()
        return Reply([await self._analyse_aside(text) for text in texts])

    async def _analyse_aside(self, text: str) -> Analysis:
        """So that whoever waits for the process gets his turn between two texts at the latest."""
        if len(text) > _INLINE_CHARACTERS or "_vader" not in self.__dict__:
            return await asyncio.to_thread(self._analyse, text)
        await self._yield_to_urgent_write()
        return self._analyse(text)

    def _analyse(self, text: str) -> Analysis:
        started = time.thread_time()
        analysis = self._judge(text)
        self.throttle.record(time.thread_time() - started)
        return analysis

    @cached_property
    def _vader(self) -> "SentimentIntensityAnalyzer":
        # Reads its word list (and imports `requests`): only for those who run without Grok.
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        vader = SentimentIntensityAnalyzer()
        for word in _NO_PRAISE:
            vader.lexicon.pop(word, None)
        return vader

    def _judge(self, text: str) -> Analysis:
        # Handles go first: to the word list, "@united" is praise.
        words = _MENTION_OR_LINK.sub(" ", html.unescape(text)).strip()
        if not _is_english(words):
            return self._answer(
                0.0, (UNKNOWN_CLUSTER,), 0.1, "it reads English only, and this is not English"
            )
        matches = {name: len(pattern.findall(words)) for name, (_, pattern) in _PATTERNS.items()}
        clusters = sorted((name for name in matches if matches[name]), key=lambda n: -matches[n])
        lexicon_score = self._score(words)
        score = lexicon_score
        if abs(lexicon_score) < 0.05 and clusters:
            score = _PATTERNS[clusters[0]][0]
        if score < 0 and "praise" in clusters and len(clusters) > 1:
            clusters.remove("praise")  # "thanks for nothing"
        confidence = 0.3 + 0.4 * abs(lexicon_score) + (0.15 if clusters else 0.0)
        because = f"the word list scores it {lexicon_score:+.2f}"
        if clusters:
            because += f" and its words point to {', '.join(clusters[:3])}"
        return self._answer(score, tuple(clusters[:5]) or ("other",), confidence, because)

    def _score(self, words: str) -> float:
        """VADER's compound score, -1..+1, averaged over sentences weighted by their length."""
        total = weight = 0.0
        for sentence in _SENTENCE_END.split(words):
            for start in range(0, len(sentence), _MAX_SENTENCE):
                part = sentence[start : start + _MAX_SENTENCE]
                score = self._vader.polarity_scores(part)["compound"]
                # A sentence without any known word says nothing about the others.
                part_weight = len(part) if score else len(part) * 0.25
                total += score * part_weight
                weight += part_weight
        return total / weight if weight else 0.0

    def _answer(
        self, score: float, clusters: tuple[str, ...], confidence: float, because: str
    ) -> Analysis:
        details: dict[str, Any] = {"analyser": self.name, "model": self.model}
        return Analysis(
            sentiment_score=round(score, 4),
            clusters=clusters,
            confidence=round(confidence, 2),
            reasoning=f"Offline analyser: {because}.",
            details=details,
        )


def _is_english(words: str) -> bool:
    """A guess from the script, then from frequent words. Text without letters counts as English."""
    letters = [character for character in words if character.isalpha()]
    if letters and sum(character.isascii() for character in letters) < len(letters) * 0.7:
        return False
    found = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", words.casefold())
    english = sum(word in _ENGLISH for word in found)
    foreign = sum(word in _NOT_ENGLISH or not word.isascii() for word in found)
    return foreign <= english or (foreign == 1 and english > 0)
