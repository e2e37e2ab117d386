"""Words that stand out in some texts beside others. Pure.

The log-odds ratio with an informative Dirichlet prior, over its standard deviation: B. Monroe,
M. Colaresi and K. Quinn, "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying
the Content of Political Conflict", Political Analysis 16(4), 2008, section 3.4. The prior is how
often words are used at all, so that a word that is only rare does not stand out.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from functools import cache

from analysis.fingerprint import as_analysed
from analysis.words import words_of

_PRIOR_WORDS = 500.0
"""What the prior weighs, in words."""
_LEAST_SCORE = 1.96
"""A z-score: by chance one word of forty has it."""
_LEAST_TEXTS = 2
_MOST = 5


@cache
def _masks() -> Set[str]:
    """What stands in place of handles and links."""
    return frozenset(words_of(as_analysed("@a https://a")))


def words_that_stand_out(texts: Iterable[str], usual: Iterable[str]) -> Sequence[str]:
    """Words of `texts` that `usual` texts have more seldom, the clearest first; where there are no
    usual ones, those of most texts, and of these the longest. A text counts for a word once, so
    that nobody makes one stand out alone."""
    here, there = _counts(texts), _counts(usual)
    total_here, total_there = here.total(), there.total()
    if not total_there:
        often = [word for word, count in here.items() if count >= _LEAST_TEXTS]
        return sorted(often, key=lambda word: (-here[word], -len(word), word))[:_MOST]
    if not total_here:
        return []
    in_all = total_here + total_there
    found: list[tuple[float, str]] = []
    for word, count in here.items():
        if count < _LEAST_TEXTS:
            continue
        prior = _PRIOR_WORDS * (count + there[word]) / in_all
        others_here = total_here + _PRIOR_WORDS - count - prior
        others_there = total_there + _PRIOR_WORDS - there[word] - prior
        if not others_here or not others_there:
            continue  # no other word is used at all
        odds_here = (count + prior) / others_here
        odds_there = (there[word] + prior) / others_there
        variance = 1 / (count + prior) + 1 / (there[word] + prior)
        score = (math.log(odds_here) - math.log(odds_there)) / math.sqrt(variance)
        if score >= _LEAST_SCORE:
            found.append((-score, word))
    return [word for _, word in sorted(found)[:_MOST]]


def _counts(texts: Iterable[str]) -> Counter[str]:
    """In how many texts each word is."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = set(words_of(as_analysed(text))) - _masks()
        counts.update(word for word in words if not word.isdigit() and len(word) > 1)
    return counts
