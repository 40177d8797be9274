"""Listeners and routes of TLS, TCP and UDP: which can stand side by side, what they take, what is said of them."""

from __future__ import annotations

import json

import pytest

from tests.documents import compiled, parse
from tests.e2e.certificates import self_signed
from xds_server.compile import Compiled
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.features import FEATURES
from xds_server.graph import Port
from xds_server.snapshot.resource import CLUSTER
from xds_server.status import ListenerStatus
from xds_server.types import GATEWAY_GROUP, Key

CHAIN, KEY = (json.dumps(text) for text in self_signed("shop.example"))
WORLD = f"""
apiVersion: v1
kind: Secret
metadata: {{name: cert}}
stringData: {{tls.crt: {CHAIN}, tls.key: {KEY}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: up}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: 1}}}}]}}
---
"""
ENDED = "tls: {certificateRefs: [{name: cert}]}"
THROUGH = "tls: {mode: Passthrough}"


def gateway(*listeners: str) -> str:
    lines = "\n".join(f"  - {{{listener}}}" for listener in listeners)
    head = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
    return f"{head}spec:\n  listeners:\n{lines}\n---\n"


def route(kind: str, name: str = "one", parent: str = "name: edge", fields: str = "", version: str = "v1") -> str:
    return (
        f"apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
        f"  parentRefs: [{{{parent}}}]\n  {fields}\n"
        "  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]\n---\n"
    )


def listeners(result: Compiled) -> dict[str, ListenerStatus]:
    return {one.name: one for one in result.statuses[Key(GATEWAY_GROUP, "Gateway", "default", "edge")].listeners}


def reasons(status: ListenerStatus) -> dict[str, str]:
    return {one.type: one.reason for one in status.conditions}


def port(result: Compiled, name: str) -> Port:
    return next(one for one in result.gateways[0].ports if one.name == f"default/edge/{name}")


@pytest.mark.parametrize(
    ("listener", "kinds"),
    [
        (f"protocol: TLS, {THROUGH}", ("TLSRoute",)),
        (f"protocol: TLS, {ENDED}", ("TLSRoute", "TCPRoute")),
        (f"protocol: TLS, {ENDED}, allowedRoutes: {{kinds: [{{kind: TLSRoute}}]}}", ("TLSRoute",)),
        ("protocol: TCP", ("TCPRoute",)),
        ("protocol: UDP", ("UDPRoute",)),
    ],
)
def test_a_listener_says_which_routes_it_takes(listener: str, kinds: tuple[str, ...]) -> None:
    result = compiled(WORLD + gateway(f"name: one, port: 7000, {listener}"))
    assert result.diagnostics == ()
    status = listeners(result)["one"]
    assert status.supported_kinds == kinds
    assert reasons(status) == {
        "Accepted": "Accepted",
        "Programmed": "Programmed",
        "ResolvedRefs": "ResolvedRefs",
        "Conflicted": "NoConflicts",
    }


@pytest.mark.parametrize("kind", ["HTTPRoute", "UDPRoute", "Nonsense"])
def test_a_kind_that_a_listener_cannot_take_is_refused(kind: str) -> None:
    listener = f"name: one, port: 7000, protocol: TCP, allowedRoutes: {{kinds: [{{kind: {kind}}}]}}"
    result = compiled(WORLD + gateway(listener) + route("TCPRoute"))
    assert reasons(listeners(result)["one"])["ResolvedRefs"] == "InvalidRouteKinds"
    assert listeners(result)["one"].supported_kinds == ()
    assert [problem.code for problem in result.diagnostics] == ["A103", "A110"]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("protocol: TCP", "protocol: UDP", None),
        ("protocol: TCP", "protocol: TCP", "ProtocolConflict"),
        ("protocol: UDP", "protocol: UDP", "ProtocolConflict"),
        ("protocol: TCP", "protocol: HTTP", "ProtocolConflict"),
        ("protocol: TCP", f"protocol: TLS, {THROUGH}", "ProtocolConflict"),
        ("protocol: UDP", f"protocol: HTTPS, {ENDED}", None),
        (f"protocol: TLS, {THROUGH}", f"protocol: HTTPS, {ENDED}", "HostnameConflict"),
        (f"protocol: TLS, {THROUGH}, hostname: a.example", f"protocol: HTTPS, {ENDED}", None),
        (f"protocol: TLS, {THROUGH}, hostname: a.example", f"protocol: TLS, {ENDED}, hostname: b.example", None),
        (
            f"protocol: TLS, {THROUGH}, hostname: a.example",
            f"protocol: TLS, {ENDED}, hostname: a.example",
            "HostnameConflict",
        ),
    ],
)
def test_what_may_share_a_port(first: str, second: str, reason: str | None) -> None:
    result = compiled(WORLD + gateway(f"name: one, port: 7000, {first}", f"name: two, port: 7000, {second}"))
    found = {reasons(one)["Conflicted"] for one in listeners(result).values()}
    assert found == {reason or "NoConflicts"}
    assert [problem.code for problem in result.diagnostics] == (["A103", "A103"] if reason else [])
    served = {(one.transport, one.port) for one in result.gateways[0].ports}
    assert bool(served) == (reason is None)


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        (f"protocol: HTTPS, {THROUGH}", "HTTPS ends TLS at the gateway"),
        ("protocol: TLS", "protocol TLS needs 'tls'"),
        (
            "protocol: TLS, tls: {mode: Passthrough, certificateRefs: [{name: cert}]}",
            "certificateRefs do nothing with mode Passthrough",
        ),
    ],
)
def test_what_does_not_fit_a_protocol_is_said_and_other_listeners_stay(listener: str, words: str) -> None:
    text = gateway(f"name: one, port: 7000, {listener}", "name: two, port: 7001, protocol: TCP")
    result = compiled(WORLD + text + route("TCPRoute"))
    (problem,) = result.diagnostics
    assert problem.code == "A103"
    assert words in problem.message
    assert reasons(listeners(result)["one"])["Accepted"] == "UnsupportedValue"
    assert [one.port for one in result.gateways[0].ports] == [7001]


def test_tls_that_ends_here_needs_a_certificate() -> None:
    result = compiled(WORLD + gateway("name: one, port: 7000, protocol: TLS, tls: {certificateRefs: [{name: nope}]}"))
    assert [problem.code for problem in result.diagnostics] == ["A104"]
    assert reasons(listeners(result)["one"])["ResolvedRefs"] == "InvalidCertificateRef"
    assert reasons(listeners(result)["one"])["Programmed"] == "Invalid"


def test_attached_routes_are_counted_for_each_listener() -> None:
    result = compiled(
        WORLD
        + gateway(
            "name: tcp, port: 7000, protocol: TCP",
            "name: udp, port: 7000, protocol: UDP",
            f"name: tls, port: 7001, protocol: TLS, {THROUGH}",
        )
        + route("TCPRoute", "a")
        + route("TCPRoute", "b", version="v1alpha2")
        + route("UDPRoute")
        + route("TLSRoute", fields="hostnames: [a.example]", version="v1alpha3")
    )
    assert {name: one.attached_routes for name, one in listeners(result).items()} == {"tcp": 2, "udp": 1, "tls": 1}
    assert [problem.code for problem in result.diagnostics] == ["A142"]


def test_names_are_stable_and_for_people() -> None:
    result = compiled(
        WORLD
        + gateway(
            f"name: through, port: 443, protocol: TLS, {THROUGH}",
            f"name: ended, port: 443, protocol: TLS, hostname: a.example, {ENDED}",
            f"name: web, port: 443, protocol: HTTPS, hostname: b.example, {ENDED}",
            f"name: other, port: 444, protocol: TLS, {THROUGH}",
            "name: udp, port: 443, protocol: UDP",
        )
        + route("TLSRoute", fields="hostnames: [c.example, a.example]")
        + route("UDPRoute")
    )
    assert [one.name for one in result.gateways[0].ports] == [
        "default/edge/https-443",
        "default/edge/udp-443",
        "default/edge/tls-444",
    ]
    mixed = port(result, "https-443")
    assert {one.name: one.route.name for one in mixed.stream_chains} == {
        "default/edge/https-443/through/*": "none",
        "default/edge/https-443/through/c.example": "tlsroute/default/one",
        "default/edge/https-443/ended/a.example": "tlsroute/default/one",
    }
    assert set(result.snapshots["default/edge"].get(CLUSTER)) == {"default/up/tcp", "default/up/udp"}


def test_a_connect_timeout_is_that_of_the_routes_own_cluster() -> None:
    policy = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: slow}\nspec:\n"
        "  targetRef: {group: gateway.networking.k8s.io, kind: TCPRoute, name: one}\n"
        "  timeout: {tcp: {connectTimeout: 7s}}\n---\n"
    )
    result = compiled(WORLD + gateway("name: tcp, port: 7000, protocol: TCP") + route("TCPRoute") + policy)
    assert result.diagnostics == ()
    (cluster,) = result.snapshots["default/edge"].get(CLUSTER).values()
    assert cluster.name == "default/up/tcp~tcproute/default/one"
    message = Cluster()
    message.ParseFromString(cluster.body)
    assert message.connect_timeout.seconds == 7


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("TCPRoute", "hostnames: [a.example]", "unknown field 'hostnames'"),
        ("TLSRoute", "hostnames: [10.0.0.1]", "is an IP address"),
        ("TLSRoute", "useDefaultGateways: All", "unknown field"),
    ],
)
def test_what_cannot_be_written(kind: str, fields: str, words: str) -> None:
    objects, (problem,) = parse(route(kind, fields=fields))
    assert objects == ()
    assert words in problem.message
    assert problem.span is not None


def test_only_one_rule() -> None:
    rule = "{backendRefs: [{name: a, port: 1}]}"
    text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {{name: a}}\nspec: {{rules: [{rule}, {rule}]}}"
    objects, (problem,) = parse(text)
    assert objects == ()
    assert "only one can be served" in problem.message


def test_the_order_of_documents_does_not_matter() -> None:
    parts = [
        WORLD,
        gateway("name: tcp, port: 7000, protocol: TCP", f"name: tls, port: 7001, protocol: TLS, {THROUGH}"),
        route("TCPRoute", "b"),
        route("TCPRoute", "a"),
        route("TLSRoute", "d", fields="hostnames: [x.example]"),
        route("TLSRoute", "c", fields='hostnames: ["*.example", x.example]'),
    ]
    first, second = compiled("".join(parts)), compiled("".join(reversed(parts)))
    assert first.snapshots["default/edge"].versions == second.snapshots["default/edge"].versions
    assert {chain.name: chain.route.name for one in first.gateways[0].ports for chain in one.stream_chains} == {
        "default/edge/tcp-7000": "tcproute/default/a",
        "default/edge/tls-7001/tls/*": "none",
        "default/edge/tls-7001/tls/*.example": "tlsroute/default/c",
        "default/edge/tls-7001/tls/x.example": "tlsroute/default/c",
    }


def test_client_certificates_that_nobody_asks_for_are_told() -> None:
    trust = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata: {{ca.crt: {CHAIN}}}\n---\n"
    frontend = "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n---\n"
    text = gateway(
        f"name: ended, port: 443, protocol: TLS, hostname: a.example, {ENDED}",
        f"name: through, port: 443, protocol: TLS, hostname: b.example, {THROUGH}",
        f"name: web, port: 443, protocol: HTTPS, {ENDED}",
    )
    result = compiled(WORLD + trust + text.removesuffix("---\n") + frontend)
    (problem,) = result.diagnostics
    assert problem.code == "A145"
    assert problem.span is not None
    found = port(result, "https-443").http_chains
    assert [chain.validation is not None for chain in found] == [True]


def test_what_a_security_policy_asks_for_is_a_guard_or_harmless_without_requests() -> None:
    carried = {one.name for one in FEATURES if any(kind == "SecurityPolicy" for kind, _ in one.carriers)}
    harmless = {one.name for one in FEATURES if one.name in carried and not one.guards}
    # Where clients are is looked up for authorization, which guards by itself.
    assert harmless == {"cors", "csrf", "locations"}


@pytest.mark.parametrize(("kind", "name"), [("Gateway", "edge"), ("ListenerSet", "more")])
def test_a_policy_of_a_listener_is_measured_by_its_protocol(kind: str, name: str) -> None:
    listener = "name: tcp, port: 7000, protocol: TCP"
    more = gateway(listener).replace("kind: Gateway", "kind: ListenerSet").replace("name: edge", "name: more")
    policy = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: x}\nspec:\n"
        f"  targetRef: {{group: gateway.networking.k8s.io, kind: {kind}, name: {name}, sectionName: tcp}}\n"
        "  retry: {numRetries: 1}\n---\n"
    )
    allowed = "  allowedListeners: {namespaces: {from: All}}\n---\n"
    own = gateway(listener if kind == "Gateway" else "name: web, port: 80, protocol: HTTP").removesuffix("---\n")
    added = more.replace("spec:\n", "spec:\n  parentRef: {name: edge}\n") if kind == "ListenerSet" else ""
    result = compiled(WORLD + own + allowed + added + policy)
    assert [(one.code, "'retry' does nothing" in one.message) for one in result.diagnostics] == [("A143", True)]
