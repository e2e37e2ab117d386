"""The stand-in for Grok: moods, topics, language, urgency, limits; that it says what it is."""

import csv
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.evaluation import CLASSES, Judged, calibration, measure
from analysis.fingerprint import fingerprint
from analysis.offline.analyser import OfflineAnalyser
from analysis.offline.judge import SMALL, Judge
from analysis.outcomes import MAX_CLUSTERS, Analysis
from analysis.parsing import normalise_clusters
from analysis.sentiment import sentiment_of
from config import DEFAULT_CLUSTERS
from tests.support.paths import SHARED

SAMPLES = SHARED / "data"
JUDGE = Judge()


def judge(text: str) -> Analysis:
    return JUDGE.judge([text])[0]


# --- moods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Thank you so much, the staff were wonderful!",
        "I love the new app, great work",
        "Amazing crew on my flight today. Perfect landing!",
        "Never had a problem with these people, ten years now",
        "Muchísimas gracias, todo llegó perfecto",
        "Vielen Dank, alles super gelaufen",
        "Merci, c'était parfait",
        "Grazie mille, servizio eccellente",
        "Obrigada, adorei tudo",
        "Bedankt, fantastisch geholpen",
        "ありがとう、とても嬉しいです",
        "Спасибо, всё отлично",
        "💚💚",
        "🥰",
    ],
)
def test_plain_praise_is_positive_in_many_languages(text: str) -> None:
    result = judge(text)
    assert result.sentiment_score > 0.1
    assert "praise" in result.clusters


@pytest.mark.parametrize(
    ("text", "cluster"),
    [
        ("The parcel has not arrived and tracking shows nothing", "delivery_problems"),
        ("It came broken, what a terrible product", "product_issues"),
        ("You charged me two times for the same invoice!", "billing_problems"),
        ("I want a refund, this is horrible", "refund_request"),
        ("I am locked out and the password reset is useless", "account_access"),
        ("The app crashes at every start, I hate it", "app_or_website_bug"),
        ("Another outage, the internet is down again", "service_outage"),
        ("Two hours on hold and then you hung up, awful customer service", "customer_service"),
        ("Please cancel my subscription, I am very disappointed", "cancellation"),
        ("My flight was delayed for hours, this is awful", "travel_delays"),
        ("You lost my luggage, worst airline ever", "luggage_problems"),
        ("This is a scam, my card data was stolen", "security_concern"),
        ("Das Paket ist immer noch nicht da, unverschämt", "delivery_problems"),
        ("La factura está mal y nadie lo arregla, qué vergüenza", "billing_problems"),
        ("L'application plante tout le temps, c'est nul", "app_or_website_bug"),
        ("Il volo è in ritardo e nessuno ci dice niente, pessimo", "travel_delays"),
        ("A bateria veio com defeito, péssimo", "product_issues"),
        ("Mijn koffer is kwijt, wat een ramp", "luggage_problems"),
    ],
)
def test_plain_complaints_are_negative_and_their_topic_comes_first(text: str, cluster: str) -> None:
    result = judge(text)
    assert result.sentiment_score < -0.1
    assert result.clusters[0] == cluster


@pytest.mark.parametrize(
    "text",
    ["When do you open on Sunday?", "The shop is on the corner.", "", "   ", "12345", "🚗", "@you"],
)
def test_what_says_neither_is_neutral(text: str) -> None:
    assert -0.1 <= judge(text).sentiment_score <= 0.1


@pytest.mark.parametrize(
    "text",
    [
        "Two weeks now and the parcel is still not here",
        "Nobody has answered my mail for nine days",
        "My card was debited two times",
        "The website logs me out all the time",
    ],
)
def test_a_complaint_needs_no_bad_word(text: str) -> None:
    assert judge(text).sentiment_score < -0.1


@pytest.mark.parametrize(
    "text",
    [
        "Thanks for ruining my trip, worst delayed flight ever",
        "Well done, the second parcel is lost as well",
        "Oh lovely, an hour in the queue for a closed counter",
        "Danke für nichts, wieder eine Stunde Warteschleife",
    ],
)
def test_thanks_that_are_none_are_no_praise(text: str) -> None:
    result = judge(text)
    assert result.sentiment_score < -0.1
    assert "praise" not in result.clusters


def test_topics_are_one_or_two_with_the_best_first() -> None:
    assert judge("The courier lost the parcel").clusters == ("delivery_problems",)
    both = judge("The parcel came late and now you refuse a refund").clusters
    assert set(both) == {"delivery_problems", "refund_request"}


# --- emoji ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["❤", "👍", "👎", "😠", "💔"])
def test_an_emoji_means_the_same_however_it_is_dressed(sign: str) -> None:
    bare = judge(f"the app {sign}")
    assert judge(f"the app {sign}\ufe0f").sentiment_score == bare.sentiment_score
    assert judge(f"the app {sign}\U0001f3fe").sentiment_score == bare.sentiment_score
    assert abs(bare.sentiment_score) > 0.1


def test_an_emoji_turns_what_the_words_leave_open() -> None:
    assert judge("they are here 😍").sentiment_score > 0.1
    assert judge("they are here 🤬").sentiment_score < -0.1
    assert judge("helpful as ever🤬").sentiment_score <= 0.1


# --- the text as its fingerprint sees it ----------------------------------------------------------


@pytest.mark.parametrize("handle", ["@united", "@LoveHoney", "@HateMail_", "@great"])
def test_a_handle_is_neither_praise_nor_complaint(handle: str) -> None:
    assert judge(f"{handle} the gate is B22") == judge("the gate is B22")


def test_an_address_is_neither_praise_nor_complaint() -> None:
    assert judge("see https://great.example/love-awesome") == judge("see")


def test_html_entities_are_read_as_their_characters() -> None:
    assert judge("Great &amp; friendly") == judge("Great & friendly")


@given(
    st.lists(
        st.sampled_from(
            ["@so_happy", "https://x.example/awful", "www.love.example", "late", "the",
             "&lt;3", "&#64;fine", "😡", "Café", "Cafe\u0301", "a\u200db", "@", "x@y", "http://",
             "!!", "\u00a0"]
        ),
        max_size=8,
    ),
    st.sampled_from([" ", "  ", "\n", "\t "]),
)  # fmt: skip
def test_texts_with_one_fingerprint_have_one_analysis(parts: list[str], gap: str) -> None:
    text, other = " ".join(parts), gap.join(parts).replace("@so_happy", "@nobody_1")
    assert fingerprint(text, "k") == fingerprint(other, "k")
    assert JUDGE.judge([text]) == JUDGE.judge([other])


# --- what it cannot read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["Qwxzk vrtplm zzgrth bnmkp wqqx", "Nid yw'r parsel wedi cyrraedd ac nid oes neb yn ateb"],
)
def test_where_words_and_language_are_unknown_it_says_so(text: str) -> None:
    result = judge(text)
    assert (result.sentiment_score, result.clusters) == (0.0, ("unknown",))
    assert (result.confidence, result.language) == (0.1, "und")
    assert "does not know" in result.reasoning


@pytest.mark.parametrize(
    "text",
    ["The café in the hall was great, merci!", "ok", "😡😡😡", "#fail", "hiiii", "1234 5678"],
)
def test_short_and_mixed_texts_are_not_unknown(text: str) -> None:
    assert judge(text).clusters != ("unknown",)


# --- language -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("where is my parcel", "en"),
        ("wo ist denn mein Paket geblieben", "de"),
        ("¿dónde está mi paquete?", "es"),
        ("où est donc mon colis", "fr"),
        ("il mio pacco non è ancora qui", "it"),
        ("a minha encomenda ainda não chegou", "pt"),
        ("mijn pakket is er nog niet", "nl"),
        ("moja paczka jeszcze nie przyszła", "pl"),
        ("kargom hâlâ gelmedi, bu ne", "tr"),
        ("paket saya belum sampai juga", "id"),
        ("var är mitt paket och varför kom det inte", "sv"),
        ("где моя посылка", "ru"),
        ("де моя посилка і чому її ще немає", "uk"),
        ("أين طردي يا جماعة", "ar"),
        ("بسته من کجا است", "fa"),
        ("मेरा पार्सल कहाँ है", "hi"),
        ("荷物はどこですか", "ja"),
        ("我的包裹在哪里", "zh"),
        ("제 택배 어디 있나요", "ko"),
        ("พัสดุของฉันอยู่ที่ไหน", "th"),
        ("πού είναι το πακέτο μου", "el"),
        ("איפה החבילה שלי", "he"),
        ("12345", "und"),
        ("😡😡", "und"),
        ("", "und"),
        ("Zorblax", "und"),
    ],
)
def test_language_is_a_code_or_und(text: str, language: str) -> None:
    assert judge(text).language == language


# --- urgency --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "urgency"),
    [
        ("My account was hacked and they are ordering things", "now"),
        ("The charger caught fire next to the bed", "now"),
        ("We are stranded in Oslo without a hotel", "now"),
        ("I am locked out of my account and rent is due", "now"),
        ("You charged me twice and my rent bounced", "now"),
        ("Mein Konto wurde gehackt", "now"),
        ("Nos robaron la tarjeta con su aplicación", "now"),
        ("When will my order be here?", "soon"),
        ("Still waiting for an answer about my refund", "soon"),
        ("Das Paket fehlt, bitte um Antwort", "soon"),
        ("My flight leaves in an hour and check in is broken", "now"),
        ("No signal since last night, and I am on call", "now"),
        ("Our flight was cancelled and nobody is at the desk", "now"),
        ("I can't sign in and the exam has begun", "now"),
        ("I was charged for a subscription that I had ended", "now"),
        ("The package says delivered but it is not here, terrible", "now"),
        ("I was locked out for an hour, terrible, but it was resolved", "none"),
        ("Kein Internet seit gestern, ich arbeite zu Hause", "now"),
        ("Vol annulé, nous sommes à Lyon avec deux enfants", "now"),
        ("What a wonderful show tonight, thank you", "none"),
        ("I HATE your ugly new logo!!!", "none"),
        ("Thank you, all good now", "none"),
        ("The shop is on the corner.", "none"),
    ],
)
def test_urgency_goes_by_consequence_not_by_tone(text: str, urgency: str) -> None:
    assert judge(text).urgency == urgency


# --- that it says what it is, and why -------------------------------------------------------------


@pytest.mark.parametrize("text", ["I love it", "The parcel is late", "荷物がまだ届きません", ""])
def test_every_answer_says_that_no_grok_wrote_it(text: str) -> None:
    result = judge(text)
    assert "offline analyser" in result.reasoning.lower()
    assert result.details["analyser"] == "offline"
    assert result.details["model"] == SMALL
    assert result.details["language"] == result.language
    assert result.cost_usd_ticks == 0


def test_the_reason_names_the_words_that_weighed_most() -> None:
    reason = judge("the gate and the horrible counter").reasoning
    assert '"horrible"' in reason
    assert '"gate"' not in reason


async def test_it_is_never_blocked_nor_paused_and_closes_at_once() -> None:
    analyser = OfflineAnalyser()
    assert (analyser.name, analyser.throttle.pause_left()) == ("offline", 0.0)
    await analyser.aclose()


# --- many and long texts --------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_texts() -> None:
    texts = ["I love it", "The parcel is broken, I hate it", "The shop is on the corner."] * 200
    assert JUDGE.judge(texts) == [judge(text) for text in texts[:3]] * 200


def test_no_texts_give_no_answers() -> None:
    assert JUDGE.judge([]) == []


HOSTILE: list[Callable[[int], str]] = [
    lambda n: "terrible " * (n // 9),
    lambda n: "x" * n,
    lambda n: "!" * n,
    lambda n: "! " * (n // 2),
    lambda n: "".join(chr(0x1F600 + i % 64) for i in range(n)),
    lambda n: "😀 " * (n // 2),
    lambda n: "&amp;" * (n // 5),
    lambda n: "&" * n,
    lambda n: "@" * n,
    lambda n: "@a " * (n // 3),
    lambda n: "https://" * (n // 8),
    lambda n: "a'" * (n // 2),
    lambda n: "not " * (n // 4),
    lambda n: "還" * n,
    lambda n: "".join(chr(0x4E00 + i % 9000) for i in range(n)),
    lambda n: "ก" * n,
    lambda n: "е́" * (n // 2),
    lambda n: "\n" * n,
    lambda n: ":-" * (n // 2),
    lambda n: "".join(f"w{i} " for i in range(n // 6)),
    lambda n: "charged me " * (n // 11),
]


@pytest.mark.parametrize("make", HOSTILE)
def test_the_time_is_linear_in_the_length_whatever_the_text(make: Callable[[int], str]) -> None:
    """Processor time; linear is a factor of 8, quadratic one of 64."""

    def seconds(text: str) -> float:
        began = time.thread_time()
        judge(text)
        return time.thread_time() - began

    short, long = make(10_000), make(80_000)
    judge(short)
    assert min(seconds(long) for _ in range(3)) < 24 * min(seconds(short) for _ in range(3)) + 0.02


def test_a_complaint_at_the_end_of_a_long_text_is_seen() -> None:
    text = "The meeting is at three. " * 60
    assert judge(text).sentiment_score >= -0.1
    assert (
        judge(text + "This is the most horrible, awful scam!").sentiment_score
        < (judge(text)).sentiment_score
    )


def test_a_long_complaint_is_as_negative_as_a_short_one() -> None:
    sentence = "The service is terrible and I hate it. "
    long, short = judge(sentence * 250), judge(sentence)
    assert long.sentiment_score == pytest.approx(short.sentiment_score, abs=0.1)
    assert long.clusters == short.clusters


@given(st.text())
def test_any_text_gets_a_sound_answer(text: str) -> None:
    result = judge(text)
    assert -1.0 <= result.sentiment_score <= 1.0
    assert 0.0 <= result.confidence <= 1.0
    assert 1 <= len(result.clusters) <= MAX_CLUSTERS
    assert result.clusters == normalise_clusters(result.clusters)
    assert set(result.clusters) <= {*DEFAULT_CLUSTERS, "unknown"}
    assert result.urgency in ("none", "soon", "now")
    assert result.language is not None
    assert len(result.language) == 2 or result.language == "und"
    result.reasoning.encode()  # what no database takes is not quoted


# --- real tweets ----------------------------------------------------------------------------------


def judged(texts: list[str], labels: list[str]) -> list[Judged]:
    assert len(texts) == len(labels) > 100
    found = []
    for text, label in zip(texts, labels, strict=True):
        result = judge(text)
        score = result.sentiment_score
        found.append(Judged(text, label, "", sentiment_of(score), score, result.confidence))
    return found


def test_of_tweets_to_airlines_it_judges_most_rightly_and_knows_how_sure_it_is(
    record_property: Any,
) -> None:
    file = SAMPLES / "airline" / "airline_sample.csv"
    if not file.exists():
        pytest.skip("the sample of tweets to airlines is not here")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = judged([row["text"] for row in rows], [row["airline_sentiment"] for row in rows])
    record_property("macro_f1", measure("all", found).macro_f1)
    assert measure("all", found).macro_f1 > 0.64
    assert calibration(found)[1] < 0.07


def test_of_general_tweets_it_judges_most_rightly_and_knows_how_sure_it_is(
    record_property: Any,
) -> None:
    folder = SAMPLES / "tweeteval"
    if not folder.exists():
        pytest.skip("the sample of general tweets is not here")
    texts = (folder / "val_sample_text.txt").read_text(encoding="utf-8").splitlines()
    labels = (folder / "val_sample_labels.txt").read_text(encoding="utf-8").split()
    found = judged(texts, [CLASSES[int(label)] for label in labels])
    record_property("macro_f1", measure("all", found).macro_f1)
    assert measure("all", found).macro_f1 > 0.58
    assert calibration(found)[1] < 0.07
