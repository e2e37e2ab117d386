"""Made-up conversations of the size of a tweet, the same in every run."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

_OPENINGS = [
    "My parcel was promised for Monday and still is not here",
    "The app crashes each time I open my account",
    "Love the new update, everything is so much faster",
    "You charged me twice for the same order this month",
    "No internet since this morning and nobody answers",
    "Flight delayed by four hours and the staff knows nothing",
    "How do I reset my password without the old phone",
    "Great support today, the agent fixed it in two minutes",
]
_ENDINGS = [
    "please look into it before the weekend",
    "I have been on hold for almost an hour now",
    "thanks to whoever picked up the phone",
    "this is the third time in two weeks",
    "and I would like my money back",
]
_START = datetime(2025, 1, 20, 10, tzinfo=UTC)
TEXT_LENGTH = 120


def conversations(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """As clients send them. No two of their texts, TEXT_LENGTH characters each, are the same."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        case = f"{draw.getrandbits(48):x}"
        text = f"@acme {draw.choice(_OPENINGS)}, {draw.choice(_ENDINGS)}. Case {case}"
        made.append(
            {
                "text": text.ljust(TEXT_LENGTH, "!")[-TEXT_LENGTH:],
                "author": f"customer{draw.randrange(100_000)}",
                "timestamp": (_START + timedelta(seconds=number)).isoformat(),
                "raw_data": {"tweet_id": str(draw.getrandbits(60)), "lang": "en", "likes": 3},
            }
        )
    return made


def bodies(count: int, *, seed: int = 1) -> list[bytes]:
    return [json.dumps(each).encode() for each in conversations(count, seed=seed)]
