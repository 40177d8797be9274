"""ClientTrafficPolicies of listeners that share a port: whose settings count, and what becomes of the others."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from tests.e2e.certificates import Authority
from tests.gateways.clients import policy
from tests.gateways.rig import authorities, secret
from xds_server.compile import Compiled
from xds_server.graph import HttpChain, Port, Respond
from xds_server.types import ENVOY_GATEWAY_GROUP, Key

AUTHORITY = Authority()
CERT = secret("cert", AUTHORITY.issue("*.example")) + authorities("ca", AUTHORITY.certificate)
TLS = "tls: {certificateRefs: [{name: cert}]}"
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}, {kind: ListenerSet, name: more}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
---
"""
SET = """
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: edge}
  listeners: [{name: a, port: 80, protocol: HTTP, hostname: set.example}]
---
"""


def gateway(*listeners: str, more: str = "") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        f"  allowedListeners: {{namespaces: {{from: All}}}}\n{more}  listeners: [{', '.join(listeners)}]\n---\n"
    )


def http(name: str, more: str = "protocol: HTTP", port: int = 80) -> str:
    return f"{{name: {name}, port: {port}, hostname: {name}.example, {more}}}"


def at(section: str) -> str:
    return f"kind: Gateway, name: edge, sectionName: {section}"


def port(result: Compiled, number: int = 80) -> Port:
    return next(one for one in result.gateways[0].ports if one.port == number)


def closed(result: Compiled, number: int = 80) -> set[str]:
    """The hosts of a port that answer 500."""
    chains = [one for one in port(result, number).chains if isinstance(one, HttpChain)]
    return {
        name
        for one in chains
        for host in one.hosts
        for name in (host.hostname, *host.aliases)
        if host.routes and all(route.action == Respond(500) for route in host.routes)
    }


def accepted(result: Compiled, name: str) -> list[tuple[bool, str]]:
    status = result.statuses[Key(ENVOY_GATEWAY_GROUP, "ClientTrafficPolicy", "default", name)]
    return [
        (one.status, one.reason) for place in status.ancestors for one in place.conditions if one.type == "Accepted"
    ]


EARLY = "headers: {earlyRequestHeaders: {remove: [NAME]}}"


def test_plain_http_of_a_port_has_one_policy() -> None:
    text = gateway(http("b"), http("a"), http("c")) + ROUTE
    text += policy("pb", EARLY.replace("NAME", "x-b"), at("b")) + policy("pa", EARLY.replace("NAME", "x-a"), at("a"))
    result = compiled(text + SET.replace("a, port: 80", "a, port: 81"))
    assert [one.origins[0].key.name for one in port(result).http_chains[0].settings] == ["pa"]
    assert closed(result) == {"b.example"}
    assert (accepted(result, "pa"), accepted(result, "pb")) == ([(True, "Accepted")], [(False, "Conflicted")])
    (problem,) = result.diagnostics
    assert problem.code == "A132"
    assert "listener b" in problem.message
    assert problem.span is not None


def test_policies_that_say_the_same_do_not_conflict() -> None:
    text = gateway(http("a"), http("b")) + ROUTE + SET.replace("a, port: 80", "a, port: 81")
    text += policy("pb", EARLY.replace("NAME", "x"), at("b")) + policy("pa", EARLY.replace("NAME", "x"), at("a"))
    result = compiled(text)
    assert (closed(result), result.diagnostics) == (set(), ())


def test_the_gateway_comes_before_its_listener_sets() -> None:
    theirs = policy("theirs", EARLY.replace("NAME", "x"), "kind: ListenerSet, name: more")
    result = compiled(gateway(http("z")) + SET + ROUTE + theirs)
    assert port(result).http_chains[0].settings == ()
    assert closed(result) == {"set.example"}
    assert accepted(result, "theirs") == [(False, "Conflicted")]
    alone = compiled(gateway(http("z", port=81)) + SET + ROUTE + theirs)
    assert port(alone).http_chains[0].settings != ()
    assert alone.diagnostics == ()


def test_a_broken_policy_closes_its_own_listeners() -> None:
    text = gateway(http("a"), http("b"), http("c")) + ROUTE + SET.replace("a, port: 80", "a, port: 81")
    text += policy("pb", "headers: {nonsense: 1}", at("b")) + policy("pa", EARLY.replace("NAME", "x"), at("a"))
    assert closed(compiled(text)) == {"b.example"}
    decides = gateway(http("b"), http("c")) + ROUTE + SET.replace("a, port: 80", "a, port: 81")
    decides += policy("pb", "headers: {nonsense: 1}", at("b"))
    assert closed(compiled(decides)) == {"b.example", "c.example"}, "c would have had the same settings"


PARTS = [
    "connection: {bufferLimit: 64Ki}",
    "proxyProtocol: {}",
    "enableProxyProtocol: true",
    "tcpKeepalive: {}",
    "timeout: {tcp: {connectionInspectionTimeout: 1s}}",
]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_one_for_the_port(part: str) -> None:
    secure = f"protocol: HTTPS, {TLS}"
    text = CERT + gateway(http("a", secure, 443), http("b", secure, 443), http("c", secure, 443)) + ROUTE + SET
    same = compiled(text + policy("pb", part, at("b")) + policy("pc", part, at("c")))
    assert [one.origins[0].key.name for one in port(same, 443).settings] == ["pb"]
    assert (closed(same, 443), [one.code for one in same.diagnostics]) == (set(), [])
    other = {"connection": "connection: {bufferLimit: 1Ki}", "tcpKeepalive": "tcpKeepalive: {probes: 1}"}
    other |= {"timeout": "timeout: {tcp: {connectionInspectionTimeout: 2s}}"}
    different = other.get(part.partition(":")[0], "proxyProtocol: {optional: true}")
    result = compiled(text + policy("pb", part, at("b")) + policy("pc", different, at("c")))
    assert closed(result, 443) == {"c.example"}
    assert [one.code for one in result.diagnostics] == ["A132"]
    assert accepted(result, "pc") == [(False, "Conflicted")]


def test_what_is_not_of_the_port_may_differ() -> None:
    secure = f"protocol: HTTPS, {TLS}"
    text = CERT + gateway(http("a", secure, 443), http("b", secure, 443)) + ROUTE + SET
    text += policy("pa", EARLY.replace("NAME", "x-a"), at("a")) + policy("pb", "tls: {minVersion: '1.3'}", at("b"))
    result = compiled(text)
    assert [[one.feature for one in chain.settings] for chain in port(result, 443).http_chains] == [
        ["early_headers"],
        ["client_tls"],
    ]
    assert result.diagnostics == ()


def test_one_of_two_demands_for_certificates_would_be_lost() -> None:
    frontend = (
        "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n"
    )
    text = CERT + gateway(http("a", f"protocol: HTTPS, {TLS}", 443), more=frontend) + ROUTE + SET
    asks = "tls: {clientValidation: {mode: Request}}"
    result = compiled(text + policy("p", asks, at("a")))
    assert closed(result, 443) == {"a.example"}
    assert [one.code for one in result.diagnostics] == ["A132"]
    assert compiled(text + policy("p", "tls: {minVersion: '1.3'}", at("a"))).diagnostics == ()


def test_annotations_and_a_policy_do_not_both_find_clients() -> None:
    text = gateway(http("a")) + ROUTE + SET.replace("a, port: 80", "a, port: 81")
    text = text.replace(
        "{name: edge}\nspec", "{name: edge, annotations: {cellway.dev/trusted-proxies: 10.0.0.0/8}}\nspec", 1
    )
    part = "clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}"
    result = compiled(text + policy("p", part, at("a")))
    assert closed(result) == {"a.example"}
    assert [one.code for one in result.diagnostics] == ["A132"]
    assert compiled(text + policy("p", "healthCheck: {path: /alive}", at("a"))).diagnostics == ()


@pytest.mark.parametrize(
    ("listener", "part", "field"),
    [
        (http("a"), "tls: {minVersion: '1.3'}", "tls"),
        (http("a"), "timeout: {tcp: {idleTimeout: 1s}}", "timeout.tcp.idleTimeout"),
        ("{name: a, port: 80, protocol: TCP}", "timeout: {http: {idleTimeout: 1s}}", "timeout.http"),
        ("{name: a, port: 80, protocol: TCP}", "path: {disableMergeSlashes: true}", "path"),
        (
            "{name: a, port: 80, protocol: TCP}",
            "connection: {connectionLimit: {maxRequestsPerConnection: 1}}",
            "connection.connectionLimit.maxRequestsPerConnection",
        ),
        ("{name: a, port: 80, protocol: UDP}", "tcpKeepalive: {}", "tcpKeepalive"),
    ],
)
def test_a_field_without_effect_is_an_error(listener: str, part: str, field: str) -> None:
    result = compiled(gateway(listener) + policy("p", part, at("a")))
    assert [one.code for one in result.diagnostics] == ["A143"]
    assert f"'{field}'" in result.diagnostics[0].message
    assert accepted(result, "p") == [(False, "Invalid")]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("tls: {clientValidation: {mode: Request}}", "certificates"),
        ("tls: {maxVersion: '1.2'}", "TLS 1.2"),
        ("proxyProtocol: {}", "PROXY"),
        ("connection: {connectionLimit: {value: 1}}", "limited"),
    ],
)
def test_what_keeps_quic_away(part: str, reason: str) -> None:
    text = CERT + gateway(http("a", f"protocol: HTTPS, {TLS}", 443)) + ROUTE + SET
    result = compiled(text + policy("p", f"http3: {{}}\n{part}", at("a")))
    assert [one.code for one in result.diagnostics] == ["A131"]
    assert reason in result.diagnostics[0].message
    assert not port(result, 443).http_chains[0].quic
