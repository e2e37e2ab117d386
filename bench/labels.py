"""labels: how soon after its answer a person's label is in the list, in the total and in a trend.

One conversation after the other is given one topic. From the answer on each of the three is asked
until it counts it: which is with the answer where no look is in vain. Beside it the same questions
once they have been answered.
"""

import json
import shutil
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from bench import many_insights
from bench.client import Connection, build_request
from bench.many_insights import END
from bench.posts import PATH as CONVERSATIONS
from bench.reads import PATH, last
from bench.report import Report, Samples
from bench.servers import Servers

SIZE = 10_000
_TOPIC = "named_by_a_person"
_MAKE_A_TREND = 20
_TRIES_PER_ROUND = 10
_TIME = last(days=1)


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    made = servers.folder.parent / f"many-{SIZE}.db"
    many_insights.build_once(f"sqlite+aiosqlite:///{made}", SIZE)
    database = servers.new_database("labels")
    shutil.copy(made, database)
    tries = _TRIES_PER_ROUND * rounds
    seen: list[float] = []
    plain: list[float] = []
    in_vain = 0
    with (
        servers.service("labels", database=database, inbound_rate_limit=0) as service,
        Connection(service.port) as client,
    ):
        newest = _get(client, PATH, {**_TIME, "limit": _MAKE_A_TREND + tries})
        for count, item in enumerate(newest["insights"], start=1):
            _label(client, item["conversation_id"])
            if count <= _MAKE_A_TREND:
                continue
            answered = time.perf_counter()
            for look in (_listed, _total, _trend):
                in_vain += _looks_in_vain(look, client, count)
            seen.append(1000 * (time.perf_counter() - answered))
            for look in (_listed, _total, _trend):
                assert look(client) == count
            plain.append(1000 * (time.perf_counter() - answered) - seen[-1])
    report.add(
        "labels", "in all three after the answer, worst", Samples([max(seen)]), "ms", below=1e3
    )
    report.add("labels", "of the same three looks afterwards", Samples(seen).over(Samples(plain)))
    report.check("labels", f"looks in vain, of {3 * tries}", str(in_vain), in_vain == 0)


def _looks_in_vain(look: Callable[[Connection], int], client: Connection, count: int) -> int:
    vain = 0
    while look(client) != count:
        vain += 1
    return vain


def _label(client: Connection, id_: str) -> None:
    body = json.dumps({"clusters": [_TOPIC], "by": "ana"}).encode()
    answer = client.ask(build_request("PUT", f"{CONVERSATIONS}/{id_}/labels", body))
    assert answer.status == 200, answer


def _get(client: Connection, path: str, query: dict[str, Any]) -> Any:
    answer = client.ask(build_request("GET", f"{path}?{urlencode(query)}"))
    assert answer.status == 200, answer
    return answer.json()


def _listed(client: Connection) -> int:
    found = _get(client, PATH, {**_TIME, "cluster": _TOPIC, "limit": 1000})
    return len(found["insights"])


def _total(client: Connection) -> int:
    query = {**_TIME, "interval": "hour", "cluster": _TOPIC}
    total: int = _get(client, f"{PATH}/summary", query)["totals"]["count"]
    return total


def _trend(client: Connection) -> int:
    found = _get(client, "/api/v1/trends", {"window": "24h", "as_of": END.isoformat()})
    return sum(each["count"] for each in found["trends"] if each["cluster"] == _TOPIC)
