"""trends: how often steady random traffic is called a trend, and how soon a threefold rise is.

No service and no clock: Poisson counts of 24 windows and one more, judged as the service judges
them. The share is of looks at one cluster.
"""

import math
import random

from analysis.trend_score import judge
from bench.report import Report, Samples
from bench.servers import Servers

LOOKS = 4000
WINDOWS = 24
RATES = (0.5, 1, 2, 5, 10, 30, 100)


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    draw = random.Random(1)
    false: list[float] = []
    for rate in RATES:
        called = {"new": 0, "rising": 0, "falling": 0, "threefold": 0}
        for _ in range(LOOKS * rounds):
            before = [_poisson(rate, draw) for _ in range(WINDOWS)]
            if verdict := judge(_poisson(rate, draw), before):
                called[verdict.direction] += 1
            called["threefold"] += judge(_poisson(3 * rate, draw), before) is not None
        share = {name: 100 * count / (LOOKS * rounds) for name, count in called.items()}
        false.append(share["new"] + share["rising"] + share["falling"])
        report.say(
            f"  {rate:5} a window: falsely new {share['new']:.3f}, rising {share['rising']:.3f},"
            f" falling {share['falling']:.3f} %; a threefold rise called {share['threefold']:.1f} %"
        )
        report.add("trends", f"falsely called at {rate}", Samples([false[-1]]), "%", below=0.3)
    report.add("trends", "falsely called, the worst", Samples([max(false)]), "%", below=0.3)


def _poisson(rate: float, draw: random.Random) -> int:
    """By Knuth's product of uniforms, in parts that do not underflow."""
    count = 0
    while rate > 0:
        part = min(rate, 50.0)
        rate -= part
        bound, product = math.exp(-part), draw.random()
        while product > bound:
            count, product = count + 1, product * draw.random()
    return count
