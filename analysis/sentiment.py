"""The sentiments, and the scores at which one becomes the next."""

from enum import StrEnum

POSITIVE_ABOVE = 0.1
NEGATIVE_BELOW = -0.1


class Sentiment(StrEnum):
    """In the order of the columns of the rollups."""

    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"


def sentiment_of(score: float) -> Sentiment:
    """The sentiment of a score from -1.0 to 1.0; both thresholds are neutral."""
    if score > POSITIVE_ABOVE:
        return Sentiment.POSITIVE
    return Sentiment.NEGATIVE if score < NEGATIVE_BELOW else Sentiment.NEUTRAL
