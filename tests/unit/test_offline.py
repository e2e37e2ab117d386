"""The stand-in for Grok: plain words, its limits, and that it says what it is."""

import csv
from functools import cached_property
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.offline import OfflineAnalyser
from analysis.outcomes import MAX_CLUSTERS, Analysis
from analysis.parsing import normalise_clusters
from config import DEFAULT_CLUSTERS
from tests.support.paths import SHARED

SAMPLES = SHARED / "data"


async def analyse(text: str) -> Analysis:
    (answer,) = (await OfflineAnalyser().analyse([text])).answers
    assert isinstance(answer, Analysis)
    return answer


# --- what it reads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Thank you so much, the staff were wonderful!",
        "I love the new app, great work",
        "Best customer service ever, you guys are awesome",
        "Amazing crew on my flight today. Perfect landing!",
    ],
)
async def test_plain_praise_is_positive(text: str) -> None:
    result = await analyse(text)
    assert result.sentiment_score > 0.1
    assert "praise" in result.clusters


@pytest.mark.parametrize(
    ("text", "cluster"),
    [
        ("The parcel has not arrived and tracking shows nothing", "delivery_problems"),
        ("It came broken, what a terrible product", "product_issues"),
        ("You charged me twice for the same invoice!", "billing_problems"),
        ("I want a refund, this is horrible", "refund_request"),
        ("I am locked out and the password reset is useless", "account_access"),
        ("The app crashes at every start, I hate it", "app_or_website_bug"),
        ("Another outage, the internet is down again", "service_outage"),
        ("Two hours on hold and then you hung up, awful customer service", "customer_service"),
        ("Please cancel my subscription, I am very disappointed", "cancellation"),
        ("My flight was delayed and you lost my luggage", "booking_problems"),
        ("This is a scam, my card data was stolen", "security_concern"),
    ],
)
async def test_plain_complaints_are_negative_and_find_their_topic(text: str, cluster: str) -> None:
    result = await analyse(text)
    assert result.sentiment_score < -0.1
    assert cluster in result.clusters


@pytest.mark.parametrize(
    "text", ["When do you open on Sunday?", "The shop is on the corner.", "", "   ", "12345", "🚗"]
)
async def test_what_says_neither_is_neutral(text: str) -> None:
    assert -0.1 <= (await analyse(text)).sentiment_score <= 0.1


async def test_a_complaint_without_a_bad_word_leans_by_its_topic() -> None:
    result = await analyse("I have been waiting for the parcel since Monday")
    assert result.sentiment_score < -0.1
    assert result.clusters == ("delivery_problems",)


async def test_thanks_for_nothing_is_no_praise() -> None:
    result = await analyse("Thanks for ruining my trip, worst delayed flight ever, I hate you")
    assert result.sentiment_score < -0.1
    assert "praise" not in result.clusters


@pytest.mark.parametrize("handle", ["@united", "@LoveHoney", "@HateMail_", "@great"])
async def test_a_handle_is_neither_praise_nor_complaint(handle: str) -> None:
    with_handle = await analyse(f"{handle} the gate is B22")
    without = await analyse("the gate is B22")
    assert with_handle == without


async def test_an_address_is_neither_praise_nor_complaint() -> None:
    assert (await analyse("see https://great.example/love-awesome")).sentiment_score == 0.0


async def test_html_entities_are_read_as_their_characters() -> None:
    assert await analyse("Great &amp; friendly") == await analyse("Great & friendly")


async def test_more_feeling_gives_more_confidence_up_to_a_bound() -> None:
    mild = await analyse("The crew was fine on my flight")
    strong = await analyse("The crew was absolutely wonderful, amazing and perfect on my flight!!!")
    assert mild.confidence < strong.confidence <= 0.85


# --- what it cannot read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "荷物がまだ届きません。サポートに電話しても誰も出ません。",
        "الطرد لم يصل بعد وخدمة العملاء لا ترد",
        "Посылка так и не пришла, поддержка не отвечает",
        "배송이 아직 안 왔어요. 정말 실망입니다",
        "El paquete no ha llegado y nadie me contesta en la tienda",
        "Muchas gracias por la ayuda, el servicio es muy bueno",
        "Le colis n'est pas arrivé et je suis très déçu par le service",
        "Das Paket ist nicht angekommen und ich bin sehr enttäuscht",
        "O pacote não chegou e a minha encomenda foi cancelada por um erro",
        "Il pacco non è arrivato e il servizio che ho pagato non funziona",
    ],
)
async def test_other_languages_are_left_unknown_with_little_confidence(text: str) -> None:
    result = await analyse(text)
    assert (result.sentiment_score, result.clusters) == (0.0, ("unknown",))
    assert result.confidence <= 0.2
    assert "not English" in result.reasoning


@pytest.mark.parametrize(
    "text",
    [
        "The café in the hall was great, merci!",
        "Delayed en route to San Juan for the second time",
        "ok",
        "😡😡😡",
        "#fail",
    ],
)
async def test_english_with_a_foreign_word_is_still_english(text: str) -> None:
    assert (await analyse(text)).clusters != ("unknown",)


# --- that it says what it is ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["I love it", "The parcel is late", "荷物がまだ届きません", ""])
async def test_every_answer_says_that_no_grok_wrote_it(text: str) -> None:
    result = await analyse(text)
    assert "offline analyser" in result.reasoning.lower()
    assert result.details["analyser"] == "offline"
    assert result.details["model"] == OfflineAnalyser.model
    assert result.cost_usd_ticks == 0


async def test_it_is_never_blocked_nor_paused_and_closes_at_once() -> None:
    analyser = OfflineAnalyser()
    assert (analyser.name, analyser.throttle.pause_left()) == ("offline", 0.0)
    await analyser.aclose()


# --- many and long texts --------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_texts() -> None:
    texts = ["I love it", "The parcel is broken, I hate it", "The shop is on the corner."] * 200
    answers = (await OfflineAnalyser().analyse(texts)).answers
    assert answers == [await analyse(text) for text in texts[:3]] * 200


async def test_no_texts_give_no_answers() -> None:
    assert (await OfflineAnalyser().analyse([])).answers == []


class Listening(OfflineAnalyser):
    """Notes what it gives the word list to read, whose time grows with the square of the length."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    @cached_property
    def _vader(self) -> Any:
        real = OfflineAnalyser()._vader
        listening = self

        class Ear:
            def polarity_scores(self, part: str) -> dict[str, float]:
                listening.read.append(part)
                scores: dict[str, float] = real.polarity_scores(part)
                return scores

        return Ear()


@pytest.mark.parametrize(
    "text",
    [
        "terrible " * 1111,
        "x" * 10_000,
        "! " * 5000,
        "The parcel is late. " * 500,
        "a" * 9_990 + " terrible",
        "\n" * 9_990 + "terrible",
    ],
    ids=["words", "one word", "signs", "sentences", "a word at the end", "lines"],
)
async def test_a_long_text_is_read_in_short_parts_and_to_its_end(text: str) -> None:
    analyser = Listening()
    (answer,) = (await analyser.analyse([text])).answers
    assert isinstance(answer, Analysis)
    assert max(map(len, analyser.read)) <= 280
    assert "".join("".join(analyser.read).split()) == "".join(text.split())


async def test_a_long_complaint_is_as_negative_as_a_short_one() -> None:
    sentence = "The service is terrible and I hate it. "
    long, short = await analyse(sentence * 250), await analyse(sentence)
    assert long.sentiment_score == pytest.approx(short.sentiment_score, abs=0.05)
    assert long.clusters == short.clusters


@given(st.text())
def test_any_text_gets_a_sound_answer(text: str) -> None:
    result = ANALYSER._analyse(text)
    assert -1.0 <= result.sentiment_score <= 1.0
    assert 0.0 <= result.confidence <= 1.0
    assert 1 <= len(result.clusters) <= MAX_CLUSTERS
    assert result.clusters == normalise_clusters(result.clusters)
    assert set(result.clusters) <= {*DEFAULT_CLUSTERS, "unknown", "other"}


ANALYSER = OfflineAnalyser()


# --- real tweets ----------------------------------------------------------------------------------


def sentiment_of(score: float) -> str:
    return "positive" if score > 0.1 else "negative" if score < -0.1 else "neutral"


def accuracy(texts: list[str], labels: list[str]) -> float:
    assert len(texts) == len(labels) > 100
    found = [sentiment_of(ANALYSER._analyse(text).sentiment_score) for text in texts]
    return sum(map(str.__eq__, found, labels)) / len(labels)


def test_of_tweets_to_airlines_it_judges_more_than_every_other_one_rightly(
    record_property: Any,
) -> None:
    file = SAMPLES / "airline" / "airline_sample.csv"
    if not file.exists():
        pytest.skip("the sample of tweets to airlines is not here")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    share = accuracy([row["text"] for row in rows], [row["airline_sentiment"] for row in rows])
    record_property("accuracy", share)
    assert share > 0.55


def test_of_general_tweets_it_judges_more_than_every_other_one_rightly(
    record_property: Any,
) -> None:
    folder = SAMPLES / "tweeteval"
    if not folder.exists():
        pytest.skip("the sample of general tweets is not here")
    names = ["negative", "neutral", "positive"]
    texts = (folder / "val_sample_text.txt").read_text(encoding="utf-8").splitlines()
    labels = (folder / "val_sample_labels.txt").read_text(encoding="utf-8").split()
    share = accuracy(texts, [names[int(label)] for label in labels])
    record_property("accuracy", share)
    assert share > 0.55


def test_it_does_not_judge_arabic(record_property: Any) -> None:
    file = SAMPLES / "multilingual" / "arabic_sample_text.txt"
    if not file.exists():
        pytest.skip("the sample of Arabic tweets is not here")
    texts = file.read_text(encoding="utf-8").splitlines()
    unknown = sum(ANALYSER._analyse(text).clusters == ("unknown",) for text in texts)
    record_property("unknown", unknown)
    assert unknown > 0.95 * len(texts)


# --- beside those who post ------------------------------------------------------------------------


async def test_it_gives_way_before_each_text() -> None:
    before: list[int] = []

    async def yield_to_urgent_write() -> None:
        before.append(analyser.analysed)

    analyser = Counting(yield_to_urgent_write)
    await analyser.analyse(["It is late."])  # the first one loads the words, in a thread
    await analyser.analyse(["It is late.", "And broken.", "Thanks for nothing."])
    assert before == [1, 2, 3]


class Counting(OfflineAnalyser):
    analysed = 0

    def _analyse(self, text: str) -> Analysis:
        self.analysed += 1
        return super()._analyse(text)


async def test_it_rests_for_longer_the_longer_its_analyses_take() -> None:
    """Processor time, so that a machine busy with other things makes no difference."""
    analyser = OfflineAnalyser()
    for _ in range(200):
        await analyser.analyse(["It is late."])
    short = analyser.throttle.call_interval
    for _ in range(200):
        await analyser.analyse(["It is late, and nobody says why or until when. " * 15])
    assert analyser.throttle.call_interval > 1.5 * short > 0
