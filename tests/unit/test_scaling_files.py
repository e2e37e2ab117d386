"""What runs several replicas, compose.scale.yml and the Kubernetes files of docs/scaling.md, agrees
with itself and with the service."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
import yaml

from config import load_settings
from main import create_app
from tests.support.paths import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.scale.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
REPLICAS = {name for name, each in SERVICES.items() if each["image"] == "insights-platform-api"}
PROXY = COMPOSE["configs"]["proxy"]["content"]
DOC = (ROOT / "docs" / "scaling.md").read_text()
(SKETCH,) = re.findall(r"^```yaml\n(.*?)^```", DOC, re.M | re.S)
DEPLOYMENT, SERVICE = yaml.safe_load_all(SKETCH)
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
(PORT,) = re.findall(r"^EXPOSE (\d+)$", (ROOT / "Dockerfile").read_text(), re.M)
ROUTE_BY = "/ready?for=traffic"


def test_the_proxy_hands_on_to_every_replica() -> None:
    (upstreams,) = re.findall(r"reverse_proxy (.*) {", PROXY)
    assert set(upstreams.split()) == {f"{name}:{PORT}" for name in REPLICAS}
    assert set(SERVICES["proxy"]["depends_on"]) == REPLICAS
    assert len(REPLICAS) == 3


@pytest.mark.parametrize("name", sorted(REPLICAS))
def test_a_replica_finds_what_it_needs(name: str) -> None:
    replica = SERVICES[name]
    addresses = (replica["environment"][each] for each in ("DATABASE_URL", "REDIS_URL"))
    hosts = {urlsplit(re.sub(r"\$\{.*?\}", "x", address)).hostname for address in addresses}
    assert hosts == set(replica["depends_on"]) <= SERVICES.keys()


def test_postgresql_keeps_what_it_holds() -> None:
    (volume,) = SERVICES["postgres"]["volumes"]
    assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_replicas_may_take_as_long_to_stop_as_the_service_does() -> None:
    assert {SERVICES[name]["stop_grace_period"] for name in REPLICAS} == {"15s"}
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] - before == 15
    assert load_settings(_env_file=None).shutdown_grace + 2 < 15


def test_all_connections_together_are_fewer_than_postgresql_gives() -> None:
    (most,) = re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))
    of_each = load_settings(_env_file=None).database_pool + 2
    assert len(REPLICAS) * of_each < int(most)


def test_the_proxy_closes_idle_connections_before_a_replica_does() -> None:
    (seconds,) = re.findall(r"keepalive (\d+)s\n", PROXY)
    assert int(seconds) < uvicorn.Config("main:app").timeout_keep_alive
    assert "--timeout-keep-alive" not in (ROOT / "Dockerfile").read_text()


def test_whoever_routes_asks_a_path_that_the_service_has() -> None:
    paths = create_app(load_settings(_env_file=None)).openapi()["paths"]
    probes = [CONTAINER[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    assert [probe["path"] for probe in probes] == [ROUTE_BY, "/health"]
    assert f"health_uri {ROUTE_BY}\n" in PROXY
    (for_,) = paths["/ready"]["get"]["parameters"]
    assert for_["name"] == "for"
    assert "/health" in paths


def test_the_kubernetes_files_mean_the_same_pods_and_port() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels == SERVICE["spec"]["selector"]
    ports = [CONTAINER[name]["httpGet"]["port"] for name in ("readinessProbe", "livenessProbe")]
    ports += [each["containerPort"] for each in CONTAINER["ports"]]
    ports += [each["targetPort"] for each in SERVICE["spec"]["ports"]]
    assert set(ports) == {int(PORT)}
    assert DEPLOYMENT["spec"]["replicas"] == len(REPLICAS)
    assert {SERVICES[name]["image"] for name in REPLICAS} == {CONTAINER["image"]}


def test_the_secret_of_the_kubernetes_files_holds_settings() -> None:
    secret = CONTAINER["envFrom"][0]["secretRef"]["name"]
    (sentence,) = re.findall(rf"^The secret `{secret}` has (.*)\.$", DOC, re.M)
    named = {name.lower() for name in re.findall(r"`(\w+)`", sentence)}
    assert named <= load_settings(_env_file=None).model_dump().keys()
    assert {"database_url", "redis_url"} <= named
