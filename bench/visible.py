"""visible: how soon after its POST a conversation's insight can be read, with nothing else to do.

GETs follow each other until one shows the insight. What the analyser itself takes is subtracted:
the offline one is timed in this process, and a Grok of 50 ms is asked the very same directly.
"""

import json
import time
from urllib.parse import urlsplit

from analysis.offline.judge import Judge
from bench import samples
from bench.client import Connection, build_request
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import Server, Servers
from tests.fakes.grok.process import grok_process
from tests.fakes.grok.steering import GOOD_KEY

TRIES_PER_ROUND = 4
GROK_SECONDS = 0.05
IDLE_SECONDS = 0.05


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    tries = TRIES_PER_ROUND * rounds
    conversations = samples.conversations(tries + 1)
    with (
        grok_process("--latency", str(GROK_SECONDS)) as grok,
        servers.service(
            "visible-grok", inbound_rate_limit=0, grok_key=GOOD_KEY, grok_base_url=grok.base_url
        ) as with_grok,
        servers.service("visible", inbound_rate_limit=0) as offline,
        Connection(urlsplit(grok.control_url).port or 0) as to_grok,
    ):
        beyond: dict[str, list[float]] = {"offline": [], "grok": []}
        analysers: dict[str, list[float]] = {"offline": [], "grok": []}
        floor = []
        judge = Judge()
        for number, conversation in enumerate(conversations):
            warm = number > 0
            body = json.dumps(conversation).encode()
            own = {"offline": _time_offline(judge, conversation["text"])}
            whole = {"offline": time_to_insight(offline, body)}
            whole["grok"] = time_to_insight(with_grok, body)
            own["grok"] = time_grok(to_grok)
            if warm:
                for name in whole:
                    beyond[name].append(1000 * (whole[name] - own[name]))
                    analysers[name].append(1000 * own[name])
                floor.append(1000 * time_post_and_get(offline))
    for name, shown in (("offline", "offline analyser"), ("grok", "Grok at 50 ms")):
        values = beyond[name]
        report.say(
            f"  {shown}: {Samples(values).show('ms')} beyond its own"
            f" {Samples(analysers[name]).show('ms')}"
        )
        report.add("visible", f"median, {shown}", Samples(values), "ms", below=8)
        slow = Samples([quantile(sorted(values), 0.95)])
        report.add("visible", f"p95 of {tries}, {shown}", slow, "ms", below=12)
    report.add("visible", "one POST and one GET", Samples(floor), "ms")
    for name in beyond:
        ratio = Samples(beyond[name]).over(Samples(floor))
        report.add("visible", f"{name}, of one POST and one GET", ratio)


def _get(path: str) -> bytes:
    return build_request("GET", path)


def time_to_insight(server: Server, body: bytes) -> float:
    """From the POST until a GET shows the insight."""
    post = build_request("POST", PATH, body)
    with Connection(server.port) as poster, Connection(server.port) as reader:
        reader.ask(_get("/health"))
        time.sleep(IDLE_SECONDS)
        started = time.perf_counter()
        answer = poster.ask(post)
        assert answer.status == 202, answer
        look = _get(f"{PATH}/{answer.json()['conversation_id']}")
        while True:
            found = reader.ask(look)
            now = time.perf_counter()
            if b'"insight":null' not in found.body:
                assert found.status == 200, found
                assert found.json()["status"] == "completed", found
                return now - started


def time_post_and_get(server: Server) -> float:
    """The least that could be: one POST, and a GET of something already there."""
    post = build_request("POST", PATH, samples.bodies(1, seed=2)[0])
    with Connection(server.port) as connection:
        known = connection.ask(post).json()["conversation_id"]
        time.sleep(IDLE_SECONDS)
        started = time.perf_counter()
        connection.ask(post)
        connection.ask(_get(f"{PATH}/{known}"))
        return time.perf_counter() - started


def _time_offline(judge: Judge, text: str) -> float:
    started = time.perf_counter()
    judge.judge([text])
    return time.perf_counter() - started


def time_grok(connection: Connection) -> float:
    """Ask again, directly, what the service asked last."""
    asked = connection.ask(_get("/_control/last_request")).json()
    body = json.dumps(asked["body"]).encode()
    headers = {"Authorization": asked["headers"]["authorization"]}
    request = build_request("POST", "/v1/chat/completions", body, headers)
    started = time.perf_counter()
    answer = connection.ask(request)
    taken = time.perf_counter() - started
    assert answer.status == 200, answer
    return taken
