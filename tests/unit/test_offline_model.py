"""The small model's weights say what they said when they were trained, and how they are read."""

import json

import pytest

from analysis.offline.features import BITS, buckets, folded, plain, tokens
from analysis.offline.judge import Judge
from analysis.offline.model import KNOWN_BITS, softmax
from analysis.topics import BUILT_IN
from tests.support.paths import ROOT
from tools.made_up import lines
from tools.offline_corpora import CORPORA, notice

DATA = ROOT / "analysis" / "offline" / "data"
TOLERANCE = 0.08
"""What another BLAS may change, and rounding. A training that changes more is a new model: then
`SMALL` in analysis/offline/judge.py and these figures change with it."""

# text, how its writer means it, probabilities of negative, neutral, positive
TEXTS = (
    ("The lamp flickers and nobody replies to my mails", "-", 0.73, 0.24, 0.03),
    ("Your courier was a delight, please thank her", "+", 0.11, 0.19, 0.71),
    ("Where can I see my invoices from last year?", "0", 0.11, 0.83, 0.06),
    ("Lovely, the lift is out of order again and I live on the ninth floor", "-", 0.44, 0.18, 0.37),
    ("I have no complaints, it does what I bought it for", "+", 0.46, 0.34, 0.20),
    ("Third time this month that the tram did not come", "-", 0.77, 0.22, 0.01),
    ("My username is on the card, the number too", "0", 0.15, 0.68, 0.16),
    ("So happy with the new coat ❤️", "+", 0.01, 0.03, 0.96),
    ("You charged the wrong card and will not answer 😡", "-", 0.99, 0.01, 0.00),
    ("The concert begins at seven in the old hall", "0", 0.10, 0.82, 0.08),
    ("Could you tell me whether the blue one fits a bicycle", "0", 0.09, 0.77, 0.14),
    ("They found my keys within an hour, brilliant people", "+", 0.19, 0.06, 0.75),
    ("Refund refused, reason unknown", "-", 0.74, 0.19, 0.08),
    ("I'm locked out and the code goes to a number I no longer have", "-", 0.49, 0.45, 0.06),
    ("the update is fine I suppose", "0", 0.36, 0.51, 0.13),
    ("What a waste of a Saturday", "-", 0.57, 0.33, 0.11),
    ("never again with this carrier", "-", 0.45, 0.27, 0.28),
    ("best soup in town", "+", 0.07, 0.06, 0.87),
    ("We are at the airport and our bags are in another country", "-", 0.41, 0.45, 0.14),
    ("Please add an option for two addresses", "0", 0.04, 0.93, 0.03),
    ("Der Fahrer war sehr nett und pünktlich", "+", 0.08, 0.08, 0.84),
    ("Die Heizung ist seit gestern kalt und keiner kommt", "-", 0.82, 0.10, 0.08),
    ("Wann öffnet die Filiale am Bahnhof?", "0", 0.13, 0.76, 0.10),
    ("Na wunderbar, der Termin wurde wieder verschoben", "-", 0.32, 0.47, 0.21),
    ("El técnico fue muy amable y lo arregló todo", "+", 0.20, 0.07, 0.73),
    ("Llevamos cuatro horas sin luz", "-", 0.66, 0.14, 0.20),
    ("¿A qué hora cierra la tienda?", "0", 0.28, 0.62, 0.11),
    ("Le serveur était charmant et le repas excellent", "+", 0.11, 0.03, 0.85),
    ("Toujours aucune nouvelle de ma commande", "-", 0.32, 0.30, 0.37),
    ("Avez-vous ce modèle en vert ?", "0", 0.22, 0.72, 0.06),
    ("Il tecnico è stato gentilissimo", "+", 0.11, 0.14, 0.75),
    ("Ancora nessuna risposta dopo dieci giorni", "-", 0.92, 0.02, 0.05),
    ("A che ora chiude il negozio?", "0", 0.12, 0.84, 0.05),
    ("O técnico foi muito educado e resolveu tudo", "+", 0.06, 0.09, 0.85),
    ("Ninguém me responde há uma semana", "-", 0.75, 0.15, 0.11),
    ("Qual é o horário da loja?", "0", 0.06, 0.88, 0.06),
    ("De monteur was vriendelijk en snel klaar", "+", 0.16, 0.18, 0.67),
    ("Al drie dagen geen reactie", "-", 0.59, 0.11, 0.30),
    ("Hoe laat sluit de winkel?", "0", 0.40, 0.52, 0.08),
    ("Kurier był bardzo miły", "+", 0.20, 0.20, 0.60),
    ("Nadal czekam na odpowiedź", "-", 0.69, 0.11, 0.19),
    ("Çok kibar bir ekip, teşekkürler", "+", 0.06, 0.06, 0.88),
    ("Hâlâ cevap yok", "-", 0.78, 0.10, 0.12),
    ("Мастер приехал вовремя, большое спасибо", "+", 0.10, 0.06, 0.84),
    ("Никто не отвечает уже неделю", "-", 0.86, 0.07, 0.06),
    ("الفني كان لطيفا جدا وشكرا", "+", 0.18, 0.08, 0.75),
    ("لا أحد يرد علي", "-", 0.84, 0.10, 0.06),
    ("とても親切な店員さんでした", "+", 0.21, 0.11, 0.67),
    ("まだ返事がありません", "-", 0.44, 0.31, 0.24),
    ("客服很耐心，问题解决了", "+", 0.15, 0.14, 0.71),
    ("一直没有人回复", "-", 0.76, 0.17, 0.07),
    ("기사님이 정말 친절하셨어요", "+", 0.16, 0.16, 0.67),
    ("아직도 답이 없어요", "-", 0.53, 0.15, 0.31),
)  # fmt: skip


@pytest.mark.parametrize(("text", "meant", "negative", "neutral", "positive"), TEXTS)
def test_the_weights_are_those_that_were_trained(
    text: str, meant: str, negative: float, neutral: float, positive: float
) -> None:
    found = Judge()._read(text).mood.probabilities
    assert found == pytest.approx((negative, neutral, positive), abs=TOLERANCE)


def test_most_of_those_texts_are_read_as_their_writers_mean_them() -> None:
    """So that the tolerances do not hold a bad model in place."""
    said = ["-0+"[max(range(3), key=each.__getitem__)] for _, _, *each in TEXTS]
    right = sum(one == each[1] for one, each in zip(said, TEXTS, strict=True))
    assert right >= 0.75 * len(TEXTS)


def test_the_files_size_is_what_its_header_promises() -> None:
    raw = (DATA / "small.bin").read_bytes()
    header, _, rest = raw.partition(b"\n")
    assert set(json.loads(header)) == {"version", "step", "english", "others"}
    assert len(rest) == 2 * (1 << BITS) + (1 << KNOWN_BITS) // 8
    assert len(raw) < 1_000_000


def test_probabilities_add_up_whatever_the_logits() -> None:
    for pair in ((0.0, 0.0), (800.0, -800.0), (-800.0, -800.0)):
        assert sum(softmax(*pair)) == pytest.approx(1.0)


def test_buckets_do_not_depend_on_what_only_stresses_a_word() -> None:
    def of(text: str) -> set[int]:
        found = tokens(plain(text))
        return set(buckets(found, [folded(token) for token in found]))

    assert of("Sooooo late in 2019") <= of("soo LATE in 7")  # a shout has a bucket of its own


# --- what they were trained on --------------------------------------------------------------------


def test_the_notice_names_every_set_with_its_licence_and_none_that_forbids_the_use() -> None:
    said = (DATA / "NOTICE").read_text(encoding="utf-8")
    assert said == notice()
    for corpus in CORPORA:
        assert {corpus.title, corpus.commit, f"licence: {corpus.licence}"} <= {
            " ".join(line.split()).removeprefix("at ") for line in said.splitlines()
        }
        assert corpus.licence.startswith(("CC BY 3.0", "CC BY 4.0", "CC0", "MIT"))


def test_the_made_up_lines_are_many_and_of_many_languages() -> None:
    made = list(lines())
    assert len({line.language for line in made}) > 16
    assert {line.topic for line in made} >= BUILT_IN.keys()
    assert all(line.text and line.label in (0, 1, 2) for line in made)
    irony = [line for line in made if line.topic == "irony"]
    assert len(irony) > 200
    assert {line.label for line in irony} == {0}
