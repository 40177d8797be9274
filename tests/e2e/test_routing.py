"""Routes, weights, limits and tokens through `cellway run` and a real Envoy."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.running import Cellway
from tests.e2e.tokens import bearer, jwks

POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{ip: {address: ADDR.12, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: three}
spec:
  endpoints:
  - {ip: {address: ADDR.11, port: 3000}}
  - {ip: {address: ADDR.12, port: 3000}}
  - {ip: {address: ADDR.13, port: 3000}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: paths}
spec:
  parentRefs: [{name: edge}]
  hostnames: [paths.example]
  rules:
  - matches: [{path: {type: Exact, value: /exact}}]
    backendRefs: [&two {group: gateway.envoyproxy.io, kind: Backend, name: two}]
  - matches: [{path: {type: RegularExpression, value: "/items/[0-9]+"}}]
    backendRefs: [*two]
  - matches: [{path: {value: /}, headers: [{name: x-beta, value: "1"}]}]
    backendRefs: [*two]
  - matches: [{path: {value: /api}}]
    backendRefs: [&one {group: gateway.envoyproxy.io, kind: Backend, name: one}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary}
spec:
  parentRefs: [{name: edge}]
  hostnames: [canary.example]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: one, weight: 90}
    - {group: gateway.envoyproxy.io, kind: Backend, name: two, weight: 10}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: groups}
spec:
  parentRefs: [{name: edge}]
  hostnames: [groups.example]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: one, weight: 50}
    - {group: gateway.envoyproxy.io, kind: Backend, name: two, weight: 50}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: groups}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: groups}]
  loadBalancer: {type: ConsistentHash, consistentHash: {type: Headers, headers: [{name: x-user}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: spread}
spec:
  parentRefs: [{name: edge}]
  hostnames: [spread.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: three}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: broken-share}
spec:
  parentRefs: [{name: edge}]
  hostnames: [share.example]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: one, weight: 1}
    - {group: gateway.envoyproxy.io, kind: Backend, name: nowhere, weight: 1}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: limited}
spec:
  parentRefs: [{name: edge}]
  hostnames: [limited.example]
  rules:
  - {name: first, matches: [{path: {value: /first}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}
  - {name: second, matches: [{path: {value: /second}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limited}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: limited}]
  rateLimit: {local: {rules: [{limit: {requests: 3, unit: Minute}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: per-user}
spec:
  parentRefs: [{name: edge}]
  hostnames: [user.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: per-user}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: per-user}]
  jwt:
    providers:
    - name: idp
      issuer: https://idp.acme.example
      audiences: [shop]
      localJWKS: {type: Inline, inline: 'KEYSET'}
      claimToHeaders: [{claim: sub, header: x-user-sub}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: per-user}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: per-user}]
  rateLimit:
    local:
      rules:
      - clientSelectors: [{headers: [{type: Distinct, name: x-user-sub}]}]
        limit: {requests: 2, unit: Minute}
      - limit: {requests: 1000, unit: Minute}
"""


@pytest.fixture(scope="module")
def edge(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    running.write("policies.yaml", POLICIES.replace("KEYSET", jwks()))
    for number, name in ((11, "one"), (12, "two"), (13, "three")):
        running.upstream(number, name=name)
    running.start()
    return running


def get(edge: Cellway, host: str, path: str = "/", **headers: str) -> httpx.Response:
    return httpx.get(f"http://{edge.block.address(1)}:8080{path}", headers={"Host": host, **headers}, timeout=10)


@pytest.mark.parametrize(
    ("path", "server"),
    [("/api", "one"), ("/api/x", "one"), ("/exact", "two"), ("/items/42", "two"), ("/items/42?a=b", "two")],
)
def test_a_path_leads_to_its_backend(edge: Cellway, path: str, server: str) -> None:
    assert get(edge, "paths.example", path).json()["server"] == server


@pytest.mark.parametrize("path", ["/apix", "/exact/", "/items/4x", "/items/42/more", "/"])
def test_a_path_that_only_looks_alike_is_not_found(edge: Cellway, path: str) -> None:
    answer = get(edge, "paths.example", path)
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_header_leads_to_the_other_version(edge: Cellway) -> None:
    assert get(edge, "paths.example", "/api", **{"x-beta": "1"}).json()["server"] == "one", "the longer path wins"
    assert get(edge, "paths.example", "/other", **{"x-beta": "1"}).json()["server"] == "two"
    assert get(edge, "paths.example", "/other").status_code == 404


@pytest.mark.parametrize("host", ["other.example", "a.paths.example", "127.0.0.1"])
def test_an_unknown_host_is_not_found(edge: Cellway, host: str) -> None:
    answer = get(edge, host, "/api")
    assert (answer.status_code, answer.content) == (404, b"")


def test_weights_are_kept_within_two_percent(edge: Cellway) -> None:
    with httpx.Client() as client:
        url = f"http://{edge.block.address(1)}:8080/"
        seen = Counter(client.get(url, headers={"Host": "canary.example"}).json()["server"] for _ in range(4000))
    assert abs(seen["two"] / 4000 - 0.10) <= 0.02, seen


def test_a_user_stays_in_one_group(edge: Cellway) -> None:
    groups = {}
    for user in range(40):
        seen = {get(edge, "groups.example", **{"x-user": f"user-{user}"}).json()["server"] for _ in range(5)}
        assert len(seen) == 1, user
        groups[user] = seen.pop()
    assert 5 <= Counter(groups.values())["one"] <= 35


def test_round_robin_is_even(edge: Cellway) -> None:
    with httpx.Client() as client:
        url = f"http://{edge.block.address(1)}:8080/"
        seen = Counter(client.get(url, headers={"Host": "spread.example"}).json()["server"] for _ in range(300))
    assert sorted(seen) == ["one", "three", "two"]
    assert all(99 <= count <= 101 for count in seen.values()), seen


def test_a_bad_backend_costs_only_its_share(edge: Cellway) -> None:
    seen = Counter(get(edge, "share.example").status_code for _ in range(200))
    assert set(seen) == {200, 500}
    assert 60 <= seen[500] <= 140, seen
    conditions = edge.object("HTTPRoute", "broken-share")["status"]["parents"][0]["conditions"]
    resolved = next(condition for condition in conditions if condition["type"] == "ResolvedRefs")
    assert (resolved["status"], resolved["reason"]) == ("False", "BackendNotFound")


def test_two_endpoints_have_separate_counters(edge: Cellway) -> None:
    first = [get(edge, "limited.example", "/first").status_code for _ in range(4)]
    second = [get(edge, "limited.example", "/second").status_code for _ in range(3)]
    assert (first, second) == ([200, 200, 200, 429], [200, 200, 200])


def test_a_user_at_the_limit_does_not_cost_another_one(edge: Cellway) -> None:
    def ask(sub: str, **headers: str) -> int:
        return get(edge, "user.example", **bearer(sub=sub), **headers).status_code

    assert [ask("ann") for _ in range(3)] == [200, 200, 429]
    assert [ask("bob", **{"x-user-sub": "ann"}) for _ in range(2)] == [200, 200], "a raw header is no user"
    assert ask("ann", **{"x-user-sub": "somebody"}) == 429
    assert get(edge, "user.example").status_code == 401


def test_tokens_are_checked(edge: Cellway) -> None:
    answer = get(edge, "user.example")
    assert (answer.status_code, answer.text) == (401, "Jwt is missing")
    answer = get(edge, "user.example", **bearer(sub="t1", lifetime=-600))
    assert (answer.status_code, answer.text) == (401, "Jwt is expired")
    answer = get(edge, "user.example", **bearer(sub="t2", audience="other"))
    assert (answer.status_code, answer.text) == (403, "Audiences in Jwt are not allowed")
    answer = get(edge, "user.example", **bearer(sub="t3"), **{"x-user-sub": "spoofed"})
    assert answer.json()["headers"]["x-user-sub"] == "t3"


def test_an_escaped_slash_is_refused(edge: Cellway) -> None:
    with socket.create_connection((edge.block.address(1), 8080), timeout=30) as connection:
        connection.sendall(b"GET /public%2f..%2forders HTTP/1.1\r\nHost: paths.example\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
