"""Connections that go through a proxy, in a real Envoy that is the proxy as well."""

from __future__ import annotations

import socket
from dataclasses import replace

from tests.translate.graphs import ORIGIN, Listed, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.tunnel import TunnelSpec
from xds_server.graph import Destination, Port, StreamChain, StreamRoute

ENDS = setting("http_upgrade", Listed(UpgradeSpec), [{"type": "CONNECT", "connect": {"terminate": True}}])


def through(proxy: int, target: str) -> Port:
    """A TCP port that asks the proxy for a host."""
    asked = setting("tunnel", TunnelSpec, {"host": target, "port": 5432})
    to = Destination(f"proxy/{target}", replace(backend(("127.0.0.1", proxy), name=f"proxy/{target}"), protocol="tcp"))
    name = f"default/edge/tcp-{target}"
    chain = StreamChain(name, StreamRoute(f"tcproute/{target}", (to,), (asked,), (ORIGIN,)), origins=(ORIGIN,))
    return Port(name, ("127.0.0.1",), 0, (chain,))


def test_bytes_go_through_the_tunnel_that_was_asked_for(envoy: Envoy) -> None:
    tunnelled = route(forward(backend(envoy.server().address)), ENDS, method="CONNECT")
    proxy = gateway(host("db.example", tunnelled))
    envoy.apply(proxy)
    own = envoy.ports[proxy.ports[0].name]
    envoy.apply(replace(proxy, ports=(*proxy.ports, through(own, "db.example"), through(own, "other.example"))))
    with socket.create_connection(("127.0.0.1", envoy.ports["default/edge/tcp-db.example"]), timeout=10) as connection:
        connection.sendall(b"GET /inside HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    with socket.create_connection(
        ("127.0.0.1", envoy.ports["default/edge/tcp-other.example"]), timeout=10
    ) as connection:
        assert connection.recv(100) == b"", "the proxy refuses"
    assert envoy.servers[0].seen == ["/inside"]
