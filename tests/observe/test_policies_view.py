"""Which policies count for a route, a gateway or a cell, and where a policy counts; and the list of routes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells.shop import compile_shop, policy
from tests.documents import compiled
from xds_server.observe.policies_view import Asked, known_names, policies_view, read_asked
from xds_server.observe.routes_view import routes_view

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {addresses: [{value: 127.0.0.1}], listeners: [{name: http, protocol: HTTP, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules:
  - name: read
    matches: [{method: GET, path: {value: /v1}, headers: [{name: x, value: v}], queryParams: [{name: q, value: "1"}]}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one, weight: 3}, {name: gone, port: 80}]
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: far}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  timeout: {http: {requestTimeout: 9s}}
  retry: {numRetries: 2}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: near}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: read}]
  timeout: {http: {requestTimeout: 5s}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  path: {disableMergeSlashes: true}
"""


def view(text: str, asked: str) -> dict[str, Any]:
    found = policies_view(compiled(text), read_asked(asked))
    assert found is not None
    return found


def fields(entry: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    """By field: who sets it, and who is passed over, without kinds and namespaces."""

    def names(who: list[dict[str, Any]]) -> list[str]:
        return [one["object"].rpartition("/")[2] for one in who]

    return {one["field"]: (names(one["setBy"]), names(one["overridden"])) for one in entry["fields"]}


def test_the_nearest_policy_counts_alone_and_the_other_is_passed_over() -> None:
    read, redirect = view(WORLD, "HTTPRoute/web")["items"]
    assert read["route"] == "httproute/default/web/rule/read"
    assert fields(read) == {"timeout": (["near"], ["far"]), "retry": ([], ["far"])}
    assert fields(redirect) == {"timeout": (["far"], []), "retry": (["far"], [])}
    assert read["hosts"] == ["web.example"]
    timeout = read["fields"][0]
    assert timeout["overridden"][0]["attachedTo"] == "Gateway default/edge"
    assert (timeout["setBy"][0]["file"], timeout["setBy"][0]["line"]) == ("test.yaml", 32)


def test_merged_policies_both_count() -> None:
    merged = WORLD.replace("sectionName: read}]\n", "sectionName: read}]\n  mergeType: StrategicMerge\n")
    read, _ = view(merged, "httproute/default/web")["items"]
    assert fields(read) == {"timeout": (["near", "far"], []), "retry": (["far"], [])}


def test_a_policy_is_told_where_it_counts_and_where_it_does_not() -> None:
    found = view(WORLD, "BackendTrafficPolicy/far")
    assert [(one["route"].rpartition("/")[2], fields(one)["timeout"]) for one in found["items"]] == [
        ("read", (["near"], ["far"])),
        ("1", (["far"], [])),
    ]
    assert ("Accepted", True) in {(one["type"], one["status"]) for one in found["status"]}
    assert [one["route"] for one in view(WORLD, "BackendTrafficPolicy/near")["items"]] == [
        "httproute/default/web/rule/read"
    ]


def test_policies_of_clients_are_told_at_the_listener() -> None:
    (entry,) = view(WORLD, "ClientTrafficPolicy/clients")["items"]
    assert (entry["route"], fields(entry)) == ("", {"path": (["clients"], [])})
    assert view(WORLD, "Gateway/edge")["items"][0] == entry
    assert len(view(WORLD, "Gateway/edge")["items"]) == 3


def test_backends_and_what_a_route_says_itself_are_found_too() -> None:
    own = WORLD.replace("  - name: read\n", "  - name: read\n    timeouts: {request: 3s}\n")
    tls = """---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secure}
spec:
  targetRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]
  validation: {wellKnownCACertificates: System, hostname: one.example}
"""
    (read,) = view(own + tls, "Backend/one")["items"]
    assert fields(read)["timeouts"] == (["web"], [])
    assert fields(read)["timeout"] == (["near"], ["far"])
    assert fields(read)["validation"] == (["secure"], [])
    assert [one["route"] for one in view(own + tls, "BackendTLSPolicy/secure")["items"]] == [read["route"]]
    assert "timeouts" not in fields(view(own, "HTTPRoute/web")["items"][1])


def test_of_policies_of_clients_the_nearest_counts_alone_too() -> None:
    near = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: nearer}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: http}]
  timeout: {http: {idleTimeout: 5s}}
"""
    (entry,) = view(WORLD + near, "ClientTrafficPolicy/clients")["items"]
    assert fields(entry) == {"timeout": (["nearer"], []), "path": ([], ["clients"])}
    assert [one["counts"] for one in entry["policies"]] == [True, False]


def test_a_broken_policy_closes_what_it_covers_and_says_why() -> None:
    broken = WORLD.replace("requestTimeout: 5s", "requestTimeout: soon")
    read, _ = view(broken, "HTTPRoute/web")["items"]
    (counting, _) = read["policies"]
    assert (counting["counts"], counting["broken"]) == (True, "it has errors")


def test_a_cell_shows_the_written_policies_behind_those_that_it_means() -> None:
    written = policy("calm", "front", "east.back", "timeout: {http: {requestTimeout: 2s}}")
    found = policies_view(compile_shop(calm=written), Asked("Cell", "front"))
    assert found is not None
    entry = next(one for one in found["items"] if "/back.east" in one["route"])
    assert fields(entry)["timeout"][0] == ["calm"]


@pytest.mark.parametrize("text", ["web", "a/b/c/d", "/web", "HTTPRoute/"])
def test_what_names_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no KIND/NAME"):
        read_asked(text)


def test_an_object_that_is_not_there() -> None:
    found = compiled(WORLD)
    assert policies_view(found, Asked("HTTPRoute", "web", "other")) is None
    assert known_names(found, "httproute") == ["HTTPRoute/default/web"]


def test_routes_say_what_they_look_for_and_where_they_lead() -> None:
    rows = routes_view(compiled(WORLD), "default/edge")
    assert [(one["hosts"], one["match"], one["to"]) for one in rows] == [
        (["web.example"], "GET /v1/* x=v ?q=1", "75 % default/one, 25 % answers 500"),
        (["web.example"], "* /*", "redirects 302 to other.example:8080"),
    ]
    assert (rows[0]["file"], rows[0]["line"], rows[0]["addresses"]) == ("test.yaml", 7, ["127.0.0.1:8080"])
    assert routes_view(compiled(WORLD), "default/other") == []
