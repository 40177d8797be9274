"""A Backend that is whatever host a request names, in a real Envoy with a real DNS server: what is reached, what never is."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import pytest

from tests.e2e.certificates import Authority
from tests.e2e.running import reserve_block
from tests.features.test_live_private_addresses import INSIDE
from tests.gateways.rig import Rig, authorities, condition, load, service
from tests.names import Names
from tests.translate.live import Envoy, Server

HEAD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
---
"""
CONNECTIONS = "cluster.default/any~default/any.upstream_cx_total"
REF = "{group: gateway.envoyproxy.io, kind: Backend, name: NAME}"


def backend(name: str, more: str = "") -> str:
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\n"
        f"spec: {{type: DynamicResolver{more}}}\n---\n"
    )


def route(name: str, rule: str, *, host: str = "") -> str:
    hosts = f"  hostnames: [{host}]\n" if host else ""
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\n"
        f"spec:\n  parentRefs: [{{name: edge}}]\n{hosts}  rules: [{{{rule}}}]\n---\n"
    )


def to(name: str) -> str:
    return f"backendRefs: [{REF.replace('NAME', name)}]"


def policy(name: str, spec: str) -> str:
    target = f"targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]"
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\n"
        f"metadata: {{name: {name}}}\nspec: {{{target}, {spec}}}\n---\n"
    )


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    running = Names({f"{name}.example": address for name, address in INSIDE.items()})
    running.known |= {"free.allowed": "127.0.0.1", "secure.allowed": "127.0.0.1", "other.allowed": "127.0.0.1"}
    running.known |= {"both.example": "192.0.2.1,127.0.0.1", "moves.example": "192.0.2.1"}
    yield running
    running.close()


@pytest.fixture(scope="module")
def rig(names: Names, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    envoy, block = Envoy(tmp_path_factory.mktemp("envoy"), names=names.port), reserve_block()
    yield Rig(envoy, block)
    envoy.close()
    block.release()


@pytest.fixture(scope="module")
def web(rig: Rig) -> Server:
    """A server inside. Names of `.allowed` may lead to it, others may not; over TLS it is `secure.allowed` alone."""
    authority, context = Authority(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, authority.issue("secure.allowed"))
    rig.server("secure", context)
    quick = "timeout: {tcp: {connectTimeout: 100ms}}"
    allowed = ", resolver: {allowedCIDRs: [127.0.0.1/32]}"
    rig.serve(
        HEAD
        + (backend("any") + route("any", to("any")) + policy("any", quick))
        + (backend("inside", allowed) + route("inside", to("inside"), host="free.allowed"))
        + backend("secure", f"{allowed}, tls: {{caCertificateRefs: [{{name: ca}}]}}")
        + route("secure", to("secure"), host="'secure.allowed', 'other.allowed'")
        + authorities("ca", authority.certificate)
    )
    return rig.server("inside")


def test_a_request_reaches_the_host_that_it_names(rig: Rig, web: Server) -> None:
    answer = rig.ask(f"free.allowed:{web.address[1]}")
    assert (answer.status_code, answer.json()["server"]) == (200, "inside")
    assert answer.json()["headers"]["host"] == f"free.allowed:{web.address[1]}"


def test_over_tls_the_host_proves_its_name(rig: Rig, web: Server) -> None:
    port = rig.envoy.servers[0].address[1]
    assert rig.ask(f"secure.allowed:{port}").json()["server"] == "secure"
    assert rig.ask(f"other.allowed:{port}").status_code == 503
    assert rig.ask(f"secure.allowed:{web.address[1]}").status_code == 503, "no TLS there"


@pytest.mark.parametrize("name", INSIDE)
def test_a_name_that_leads_inside_leads_nowhere(rig: Rig, web: Server, name: str) -> None:
    before = (len(web.seen), rig.envoy.stat(CONNECTIONS))
    assert rig.ask(f"{name}.example:{web.address[1]}").status_code == 503
    assert (len(web.seen), rig.envoy.stat(CONNECTIONS)) == before


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost"],
)
def test_an_address_inside_is_refused_as_a_host(rig: Rig, web: Server, host: str) -> None:
    before = (len(web.seen), rig.envoy.stat(CONNECTIONS))
    assert rig.ask(f"{host}:{web.address[1]}").status_code >= 400
    assert (len(web.seen), rig.envoy.stat(CONNECTIONS)) == before


def test_of_several_addresses_only_those_outside_are_tried(rig: Rig, web: Server) -> None:
    before = len(web.seen)
    for _ in range(3):
        assert rig.ask(f"both.example:{web.address[1]}").status_code == 503
    assert len(web.seen) == before
    assert rig.envoy.stat(CONNECTIONS) > 0, "the outer one was"


def test_a_name_that_moves_inside_is_not_followed(rig: Rig, web: Server, names: Names) -> None:
    host = f"moves.example:{web.address[1]}"
    assert rig.ask(host).status_code == 503
    before, lookups = len(web.seen), "dns_cache[.].*[.]dns_query_(success|failure)"
    names.known["moves.example"] = "127.0.0.1"
    asked, deadline = rig.envoy.stat(lookups), time.monotonic() + 30
    while rig.envoy.stat(lookups) < asked + 2:
        assert time.monotonic() < deadline, "the name is not looked up again"
        assert rig.ask(host).status_code == 503
        time.sleep(0.05)
    assert rig.ask(host).status_code == 503
    assert len(web.seen) == before


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (f"backendRefs: [{REF.replace('NAME', 'any')}, {{name: up, port: 80}}]", "the only backend"),
        (f"{to('any')}, filters: [{{type: URLRewrite, urlRewrite: {{hostname: a.example}}}}]", "cannot be rewritten"),
        (
            f"{to('any')}, filters: [{{type: ExtensionRef, extensionRef: "
            "{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: by-path}}]",
            "cannot be rewritten",
        ),
    ],
)
def test_what_nobody_could_look_up_is_closed(rig: Rig, web: Server, rule: str, said: str) -> None:
    by_path = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: by-path}\nspec:\n"
        "  urlRewrite: {hostname: {type: PathRegex, pathRegex: {pattern: '^/(.+)', substitution: '\\1'}}}\n---\n"
    )
    text = HEAD + backend("any") + by_path + service("up", *web.address) + route("any", rule)
    result = rig.serve(text, flawed=True)
    assert rig.ask("free.allowed").status_code == 500
    assert [one.code for one in result.diagnostics] == ["A112"]
    assert said in result.diagnostics[0].message
    (parent,) = rig.status("HTTPRoute", "any").parents
    assert condition(parent.conditions, "ResolvedRefs") == (False, "InvalidBackendRef")


@pytest.mark.parametrize("spec", ["loadBalancer: {type: Random}", "dns: {dnsRefreshRate: 1s}"])
def test_settings_that_mean_nothing_close_the_route(rig: Rig, web: Server, spec: str) -> None:
    result = rig.serve(HEAD + backend("any") + route("any", to("any")) + policy("any", spec), flawed=True)
    assert rig.ask("free.allowed").status_code == 500
    (problem,) = result.diagnostics
    assert (problem.code, problem.span is not None) == ("T101", True)
    assert "does nothing for a DynamicResolver" in problem.message
