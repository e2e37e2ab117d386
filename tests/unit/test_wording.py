"""What a message says, before it takes the shape of a receiver."""

from typing import Any

import pytest

from analysis.messages import Message, MessageType
from notices.wording import Tone, words_of


def alert(**changed: Any) -> Message:
    data = {
        "rule": "Deliveries",
        "kind": "rising",
        "key": "delivery_problems",
        "opened_at": "2026-03-04T05:00:00Z",
        "evidence": {"count": 42, "expected": 8.0},
        **changed,
    }
    return Message("msg_1", MessageType.ALERT_OPENED, data)


@pytest.mark.parametrize(
    ("state", "title", "tone"),
    [
        ("open", "The service needs somebody", Tone.ALARM),
        ("closed", "Over: trouble of the service", Tone.CALM),
        (None, "The service needs somebody", Tone.ALARM),  # as earlier versions wrote it
    ],
)
def test_trouble_of_the_service_that_is_over_raises_no_alarm(
    state: str | None, title: str, tone: Tone
) -> None:
    data = {"sentence": "Nothing is left.", **({} if state is None else {"state": state})}
    words = words_of(Message("msg_1", MessageType.MACHINE, data))

    assert (words.title, words.tone) == (title, tone)


@pytest.mark.parametrize("key", ["", None])
def test_what_rises_without_a_topic_is_a_sentence_all_the_same(key: str | None) -> None:
    assert words_of(alert(key=key)).text.startswith("Rising: 42 posts")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
        ("\U0001f469\u200d\U0001f469\u200d\U0001f467", None),
        ("a\u202eb\u200fc\u2028d\x07e", "a b c d e"),
    ],
)
def test_joiners_stay_and_what_turns_or_ends_lines_does_not(said: str, shown: str | None) -> None:
    """Words and emoji that are made with them would fall apart."""
    words = words_of(alert(evidence={"count": 1, "texts": [said], "words": [said]}))

    assert words.quotes == [shown or said]
    assert dict(words.facts)["Words"] == (shown or said)
