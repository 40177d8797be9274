"""HTTP/3 through a real Envoy and a real client: the same routes as over TCP, and where it is not served and why."""

from __future__ import annotations

import json

import pytest

from tests.e2e.certificates import Authority
from tests.gateways import http3
from tests.gateways.rig import Rig, authorities, route, secret, service


def policy(target: str) -> str:
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: quic}\nspec:\n"
        f"  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, {target}}}]\n  http3: {{}}\n---\n"
    )


class World:
    """A Gateway with an HTTP listener and two HTTPS listeners on one port, and a server behind them."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.authority = rig, Authority()
        self.address = (rig.block.address(1), 10443)
        self.text = secret("cert", self.authority.issue("a.example", "b.example"))
        self.text += service("one", *rig.server("one").address) + route("web", "one")

    def gateway(self, tls: str = "") -> str:
        """The Gateway, with its own `tls`."""
        certificate = "tls: {certificateRefs: [{name: cert}]}"
        return (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
            f"  addresses: [{{value: ADDR.1}}]\n{f'  tls: {tls}' if tls else ''}\n  listeners:\n"
            "  - {name: http, protocol: HTTP, port: 10080}\n"
            f"  - {{name: a, protocol: HTTPS, port: 10443, hostname: a.example, {certificate}}}\n"
            f"  - {{name: b, protocol: HTTPS, port: 10443, hostname: b.example, {certificate}}}\n---\n"
        )

    def get(self, name: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
        """A request over QUIC."""
        return http3.get(self.address, name, self.authority.certificate, host)

    def alternative(self, name: str) -> str:
        """What a client on TCP is told."""
        with self.rig.connect(name) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            head = b"".join(iter(lambda: connection.recv(65536), b"")).decode().lower()
        return next((line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("alt-svc:")), "")


@pytest.fixture(scope="module")
def world(rig: Rig) -> World:
    return World(rig)


def test_quic_serves_what_tcp_serves(world: World) -> None:
    world.rig.serve(world.text + world.gateway() + policy("name: edge"))
    for name in ("a.example", "b.example"):
        assert world.alternative(name) == 'h3=":10443"; ma=86400'
        status, _, body = world.get(name)
        assert (status, json.loads(body)["server"]) == (200, "one")
    assert world.get("a.example", "b.example")[0] == 421
    assert world.get("a.example", "c.example")[0] == 404
    assert world.rig.envoy.stat("http.default/edge/https-10443/a/quic.downstream_cx_http3_total") == 3


def test_one_listener_alone(world: World) -> None:
    world.rig.serve(world.text + world.gateway() + policy("name: edge, sectionName: a"))
    assert world.get("a.example")[0] == 200
    with pytest.raises(ConnectionError):
        world.get("b.example")
    assert [world.alternative(name) != "" for name in ("a.example", "b.example")] == [True, False]


def test_without_the_policy_there_is_no_quic(world: World) -> None:
    world.rig.serve(world.text + world.gateway())
    with pytest.raises(ConnectionError):
        world.get("a.example")
    assert world.alternative("a.example") == ""


def test_clients_that_must_show_certificates_cannot_come_by_quic(world: World) -> None:
    tls = "{frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}"
    text = world.text + authorities("ca", world.authority.certificate) + world.gateway(tls) + policy("name: edge")
    result = world.rig.serve(text, flawed=True)
    assert [one.code for one in result.diagnostics] == ["A131", "A131"]
    assert "nothing would check them" in result.diagnostics[0].message
    with pytest.raises(ConnectionError):
        world.get("a.example")


def test_plain_http_has_no_quic(world: World) -> None:
    result = world.rig.serve(world.text + world.gateway() + policy("name: edge, sectionName: http"), flawed=True)
    assert ["it needs an HTTPS listener" in one.message for one in result.diagnostics] == [True]
