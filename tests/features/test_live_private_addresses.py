"""Names that lead inside, in a real Envoy that asks a real DNS server: nothing is connected."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.names import Names
from tests.translate.graphs import ORIGIN, Listed, Plain, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy, Server
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.timeout import TimeoutSpec
from xds_server.graph import Backend, Endpoint, Setting

INSIDE = {
    "loopback": "127.0.0.1", "loopback-far": "127.255.255.254", "zero": "0.0.0.0", "ten": "10.1.2.3",
    "twelve": "172.31.255.255", "sixteen": "192.168.0.1", "shared": "100.127.0.1", "metadata": "169.254.169.254",
    "multicast": "224.0.0.1", "reserved": "255.255.255.255", "benchmark": "198.19.0.1",
    "loopback-6": "::1", "zero-6": "::", "unique-local": "fd00:ec2::254", "link-local-6": "fe80::1",
    "site-local": "fec0::1", "mapped": "::ffff:127.0.0.1", "mapped-ten": "::ffff:10.1.2.3", "nat64": "64:ff9b::a01:203",
    "6to4": "2002:a01:203::1", "teredo": "2001:0:a01:203::1", "compatible": "::127.0.0.1", "multicast-6": "ff02::1",
}  # fmt: skip
OUTSIDE = {"four": "192.0.2.1", "near-twelve": "172.32.0.1", "near-shared": "100.128.0.1", "six": "2001:db8::1"}
DENY = setting("private_addresses", Plain(), True)
QUICK = setting("timeout", TimeoutSpec, {"tcp": {"connectTimeout": "100ms"}})


def named(name: str, port: int, suffix: str = "") -> Backend:
    """A backend by DNS name."""
    return Backend(f"{name}{suffix}", (Endpoint(f"{name}.example", port),), dns=True, origins=(ORIGIN,))


def written(name: str, address: str, port: int) -> Backend:
    """A backend by address."""
    return backend((address, port), name=f"{name}-written")


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    running = Names({f"{name}.example": address for name, address in (INSIDE | OUTSIDE).items()})
    running.known["moves.example"] = OUTSIDE["four"]
    yield running
    running.close()


@pytest.fixture(scope="module")
def edge(names: Names, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    envoy = Envoy(tmp_path_factory.mktemp("envoy"), names=names.port)
    port = envoy.server().address[1]
    both: tuple[Setting, ...] = (DENY, QUICK)
    hosts = [host(f"{name}.example", route(forward(named(name, port)), *both)) for name in INSIDE | OUTSIDE]
    for name, address in (INSIDE | OUTSIDE).items():
        hosts.append(host(f"{name}.written", route(forward(written(name, address, port)), *both)))
    hosts.append(host("open.example", route(forward(named("loopback", port, "/open")))))
    hosts.append(host("moves.example", route(forward(named("moves", port)), *both)))
    tunnel = replace(route(forward(named("ten", port, "/tunnel")), *both, _ends()), name="t")
    hosts.append(host("tunnel.example", replace(tunnel, match=replace(tunnel.match, method="CONNECT"))))
    envoy.apply(gateway(*hosts))
    yield envoy
    envoy.close()


def _ends() -> Setting:
    return setting("http_upgrade", Listed(UpgradeSpec), [{"type": "CONNECT", "connect": {"terminate": True}}])


def server(edge: Envoy) -> Server:
    return edge.servers[0]


def test_without_the_setting_the_name_leads_inside(edge: Envoy) -> None:
    assert edge.get("open.example").json()["server"] == "web"


@pytest.mark.parametrize("name", INSIDE)
def test_an_address_inside_is_refused_whether_looked_up_or_written(edge: Envoy, name: str) -> None:
    before = len(server(edge).seen)
    for domain, cluster in (("example", name), ("written", f"{name}-written")):
        answer = edge.get(f"{name}.{domain}")
        assert (answer.status_code, answer.text) == (403, "RBAC: access denied"), domain
        assert edge.stat(f"cluster.{cluster}.upstream_cx_total") == 0
    assert len(server(edge).seen) == before


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_address_outside_is_tried(edge: Envoy, name: str) -> None:
    assert edge.get(f"{name}.example").status_code == 503, "nobody is there"
    assert edge.stat(f"cluster.{name}.upstream_cx_total") > 0


def test_a_name_that_begins_to_lead_inside_is_refused_then(edge: Envoy, names: Names) -> None:
    assert edge.get("moves.example").status_code == 503
    before = len(server(edge).seen)
    names.known["moves.example"] = "127.0.0.1"
    deadline = time.monotonic() + 60
    while edge.get("moves.example").status_code != 403:
        assert time.monotonic() < deadline, "the new address is not known"
        time.sleep(0.05)
    assert len(server(edge).seen) == before


def test_a_tunnel_inside_is_refused(edge: Envoy) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(b"CONNECT tunnel.example:22 HTTP/1.1\r\nHost: tunnel.example:22\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 403")
    assert edge.stat("cluster.ten/tunnel.upstream_cx_total") == 0
