"""Commands that ask a running server, as processes: `cellway run` with a real Envoy, one for all tests of this file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.commands import cellway
from tests.e2e.load import Load
from tests.e2e.running import Cellway, reserve_block

POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: patience}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  timeout: {http: {requestTimeout: 5s}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {ann: planted-4711}
"""

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellway]:
    """A server with one Envoy and one upstream."""
    root = tmp_path_factory.mktemp("cellway")
    (root / "policies").mkdir()
    running = Cellway(root / "policies", root / "state", reserve_block())
    running.write("all.yaml", POLICIES)
    running.upstream(11)
    running.start()
    yield running
    running.close()


@pytest.fixture
def ask(server: Cellway) -> Ask:
    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        done = cellway(*words, "--admin", server.admin.removeprefix("http://"))
        assert "planted-4711" not in done.stdout + done.stderr
        return done

    return asked


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_routes_of_a_server(ask: Ask, server: Cellway) -> None:
    done = ask("routes")
    head, row = done.stdout.splitlines()
    assert head.split() == ["GATEWAY", "LISTENER", "HOST", "MATCH", "TO", "WRITTEN", "AT"]
    assert row.split()[:6] == ["default/edge", "http-8080", "web.example", "*", "/*", "default/one"]
    assert row.endswith("all.yaml:9")
    (item,) = told(ask("routes", "--gateway", "default/edge", "-o", "json"))["items"]
    assert item["addresses"] == [f"{server.block.address(1)}:8080"]
    done = ask("routes", "--gateway", "default/egde")
    assert (done.returncode, "there are: default/edge" in done.stderr) == (2, True)


def test_wait_tells_what_it_waited_for(ask: Ask) -> None:
    assert ask("wait").stdout == "everything is in force\n"
    assert told(ask("wait", "-o", "json")) == {"message": "everything is in force"}
    assert ask("wait", "--timeout", "soon").returncode == 2


def test_policies_of_a_server(ask: Ask) -> None:
    done = ask("policies", "HTTPRoute/web")
    assert done.returncode == 0
    assert "    timeout  BackendTrafficPolicy default/patience (" in done.stdout
    assert "    apiKeyAuth  SecurityPolicy default/keys (" in done.stdout
    (entry,) = told(ask("policies", "securitypolicy/keys", "-o", "json"))["items"]
    assert entry["route"] == "httproute/default/web/rule/0"
    for wrong in ("HTTPRoute/wbe", "web"):
        done = ask("policies", wrong)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_dump_shows_both_sides_without_secrets(ask: Ask) -> None:
    done = ask("dump")
    assert done.returncode == 0, done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["gateway", "default/edge"] in lines
    listener = next(line for line in lines if line[0] == "Listener")
    assert (listener[2] == listener[3], listener[4]) == (True, "same")
    (item,) = told(ask("dump", "--gateway", "default/edge", "-o", "json"))["items"]
    (envoy,) = item["envoys"]
    sent = {(one["type"], one["name"]): one["resource"] for one in item["resources"]}
    has = {(one["type"], one["name"]): one["resource"] for one in envoy["resources"]}
    assert sent.keys() == has.keys()
    table = ("RouteConfiguration", "default/edge/http-8080")
    hosts = [one[table]["virtual_hosts"][0]["domains"] for one in (sent, has)]
    assert hosts == [["web.example"], ["web.example"]]
    assert "[redacted]" in json.dumps(list(sent.values()))
    assert ask("dump", "--gateway", "default/egde").returncode == 2


def test_traffic_of_local_envoys(ask: Ask, server: Cellway) -> None:
    with Load(server.block.address(1), 8080, "web.example", rate=50, connections=1):
        items = told(ask("top", "-n", "1", "--interval", "500ms", "-o", "json"))["items"]
        text = ask("top", "-n", "1", "--interval", "500ms").stdout
    busy = {(one["kind"], one["name"]): one["perSecond"] > 0 for one in items}
    # Without a key nothing gets past the gateway.
    assert busy == {("listener", "default/edge/http-8080"): True, ("cluster", "default/one"): False}
    assert all(one["errorShare"] == 0 for one in items)
    head, first, _ = text.splitlines()
    assert head.split()[:3] == ["GATEWAY", "WHAT", "NAME"]
    assert first.split()[:3] == ["default/edge", "listener", "default/edge/http-8080"]
    assert ask("top", "--interval", "soon").returncode == 2
    assert ask("top", "-n", "1", "--gateway", "default/egde").returncode == 2


def test_check_of_a_server_and_its_envoys(ask: Ask, server: Cellway) -> None:
    items = told(ask("check", "--xds", f"{server.block.address(250)}:18000", "-o", "json"))["items"]
    said = {one["what"]: (one["state"], one["message"]) for one in items}
    assert said["server"] == ("ok", f"ready at {server.admin.removeprefix('http://')}")
    assert said["envoys"] == ("ok", "1 connected, all in sync")
    assert {said[name][0] for name in ("version", "clocks", "certificates", "xds")} == {"ok"}
