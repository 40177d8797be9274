"""`tls` of a Backend through a real Envoy: which name is sent and checked, what is shown, and what nobody checks."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

import pytest

from tests.documents import parse
from tests.e2e.certificates import Authority
from tests.gateways.rig import Rig, authorities, load, secret
from tests.translate.live import Server

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
"""
CA = "caCertificateRefs: [{name: ca}]"


@dataclass
class World:
    """Two TLS servers with a name each; one of them wants to see a certificate of its own authority."""

    rig: Rig
    authority: Authority = field(default_factory=Authority)
    names: list[str | None] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    def start(self, name: str, *, asks: bool = False) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load(context, self.authority.issue(name))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.sni_callback = lambda _connection, sent, _context: self.names.append(sent)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.authority.certificate)
        return self.rig.server(name, context)

    def status(self, tls: str, *servers: tuple[Server, str], more: str = "", flawed: bool = False) -> int:
        """What a request is answered with."""
        places = [
            f"{{ip: {{address: {one.address[0]}, port: {one.address[1]}}}{f', hostname: {name}' if name else ''}}}"
            for one, name in servers
        ]
        backend = (
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: up}\n"
            f"spec:\n  endpoints: [{', '.join(places)}]\n  tls: {{{tls}}}\n---\n"
        )
        self.rig.serve(GATEWAY + backend + more + authorities("ca", self.authority.certificate), flawed=flawed)
        return self.rig.ask("shop.example").status_code


@pytest.fixture(scope="module")
def world(rig: Rig) -> World:
    built = World(rig)
    built.servers = [built.start("one.example"), built.start("two.example"), built.start("asks.example", asks=True)]
    return built


def test_each_endpoint_is_asked_by_its_own_name(world: World) -> None:
    one, two, _ = world.servers
    auto = f"autoSNIFromEndpointHostname: true, {CA}"
    assert world.status(auto, (one, "one.example"), (two, "two.example")) == 200
    assert {world.rig.ask("shop.example").json()["server"] for _ in range(4)} == {"one.example", "two.example"}
    assert set(world.names[-2:]) == {"one.example", "two.example"}
    assert world.status(auto, (one, "two.example")) == 503, "the certificate has another name"


def test_nobody_checks_the_certificate_only_if_that_is_asked_for(world: World) -> None:
    one = (world.servers[0], "")
    assert world.status("insecureSkipVerify: true", one) == 200
    assert world.status("insecureSkipVerify: true, sni: other.example", one) == 200
    assert world.names[-1] == "other.example"
    assert world.status(f"sni: other.example, {CA}", one) == 503
    assert world.status("sni: one.example, wellKnownCACertificates: System", one) == 503


def test_the_backend_is_shown_a_certificate(world: World) -> None:
    asks = (world.servers[2], "")
    own = secret("own", world.authority.issue("gateway.example"))
    assert world.status(f"sni: asks.example, {CA}", asks) == 503
    assert world.status(f"sni: asks.example, {CA}, clientCertificateRef: {{name: own}}", asks, more=own) == 200
    gone = f"sni: asks.example, {CA}, clientCertificateRef: {{name: gone}}"
    assert world.status(gone, asks, more=own, flawed=True) == 500


def test_versions_have_bounds(world: World) -> None:
    one = (world.servers[0], "")
    assert world.status(f"sni: one.example, {CA}, maxVersion: '1.2'", one) == 200
    assert world.status(f"sni: one.example, {CA}, minVersion: '1.3'", one) == 503, "the server ends at 1.2"


def test_algorithms_are_chosen(world: World) -> None:
    picky = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(picky, world.authority.issue("picky.example"))
    picky.maximum_version = ssl.TLSVersion.TLSv1_2
    picky.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    server = (world.rig.server("picky", picky), "")
    base = f"sni: picky.example, {CA}, ecdhCurves: [P-256], signatureAlgorithms: [ecdsa_secp256r1_sha256]"
    assert world.status(f"{base}, ciphers: [ECDHE-ECDSA-AES256-GCM-SHA384]", server) == 200
    assert world.status(f"{base}, ciphers: [ECDHE-ECDSA-AES128-GCM-SHA256]", server) == 503


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("insecureSkipVerify: true, wellKnownCACertificates: System", "nobody to trust"),
        ("insecureSkipVerify: true, sni: a, autoSNIFromEndpointHostname: true", "either 'sni' or"),
        ("autoSNIFromEndpointHostname: true, insecureSkipVerify: true", "a hostname at each endpoint"),
        ("sni: a, insecureSkipVerify: true, minVersion: '1.3', maxVersion: '1.2'", "older than"),
        ("insecureSkipVerify: true, sni: a, ciphers: [ROT13]", "does not know 'ROT13'"),
        ("insecureSkipVerify: true, sni: a, ecdhCurves: [P-256, P-256]", "there twice"),
        ("insecureSkipVerify: true, sni: a, minVersion: '1.3', ciphers: [AES128-SHA]", "do nothing for TLS 1.3"),
        ("insecureSkipVerify: false, sni: a", "give either 'caCertificateRefs'"),
    ],
)
def test_what_does_not_fit_is_refused(tls: str, said: str) -> None:
    text = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: up}\n"
    _, problems = parse(f"{text}spec:\n  endpoints: [{{ip: {{address: 127.0.0.1, port: 1}}}}]\n  tls: {{{tls}}}\n")
    assert [one.code for one in problems] == ["M112"]
    assert said in problems[0].message
