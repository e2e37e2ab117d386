"""Whether a cluster's count in one window stands out against those in the windows before. Pure.

The score is the signed root of the log-likelihood ratio of "one rate all along" against "another
rate in the last window", for counts that are Poisson: T. Dunning, "Accurate Methods for the
Statistics of Surprise and Coincidence", Computational Linguistics 19(1), 1993; M. Kulldorff, "A
spatial scan statistic", Communications in Statistics 26(6), 1997. Unlike a z-score it holds for
small counts, and for a cluster that has never been seen. Complaints come in bursts and by day and
night: how much more than Poisson the windows before vary among themselves (the quasi-Poisson
dispersion of P. McCullagh and J. Nelder, "Generalized Linear Models", 1989) divides the ratio, so
that a lively cluster has to do more to stand out.

On steady random traffic a cluster is called falsely in fewer than three of a thousand looks. A
threefold rise within one window is called in six of ten cases where 5 a window are usual, in nine
of ten where 10 are, and always from 30 on (`python -m bench trends` measures both).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CALLED_FROM = 3.0
"""The score, of either sign, from which a cluster is called."""
LEAST_COUNT = 5
"""Nothing is called rising or new with fewer."""
LEAST_EXPECTED = 8
"""Nothing is called falling where fewer were expected: by chance none of 5 come now and then."""

Direction = Literal["new", "rising", "falling"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`expected` is the count that the windows before let expect."""

    expected: float
    score: float
    direction: Direction


def judge(count: int, before: Sequence[int], *, more: int = 0, part: float = 0.0) -> Verdict | None:
    """None where the count does not stand out.

    `before` are the counts of the windows before, one at least; `more` is what came in a `part` of
    a window between them and the last one.
    """
    windows = len(before) + part
    total = sum(before) + more
    expected = total / windows
    score = signed_root(count, total, windows) / math.sqrt(dispersion(before))
    if score >= CALLED_FROM and count >= LEAST_COUNT:
        return Verdict(expected, score, "rising" if total else "new")
    if score <= -CALLED_FROM and expected >= LEAST_EXPECTED:
        return Verdict(expected, score, "falling")
    return None


def signed_root(count: float, total: float, windows: float) -> float:
    """Of a `count` in one window, against a `total` in others that are as long as `windows` of it;
    negative where it is less than the others let expect."""
    rate = (count + total) / (1 + windows)
    if rate == 0:
        return 0.0
    ratio = 2 * (_surprise(count, rate) + _surprise(total, rate * windows))
    return math.copysign(math.sqrt(max(0.0, ratio)), count - rate)


def _surprise(count: float, expected: float) -> float:
    return count * math.log(count / expected) if count else 0.0


def dispersion(before: Sequence[float]) -> float:
    """Variance over mean, and at least that of Poisson, which is 1."""
    mean = sum(before) / len(before)
    if mean == 0 or len(before) < 3:
        return 1.0
    variance = sum((count - mean) ** 2 for count in before) / (len(before) - 1)
    return max(1.0, variance / mean)
