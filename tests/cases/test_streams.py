"""Streams over time and by chance: connections that stay, backends by name, and names against a plain model.

In: documents, changed while connections are open or made up at random. Out: failures that name what differs. The model
says in Gateway API's words which route a name belongs to; it shares no code with Cellway.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cases.reading import read_request
from tests.cases.rig import Rig
from tests.cases.test_cases import compile_given
from tests.e2e.running import Block
from xds_server.diagnostics import Severity

EDGE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners:
"""
ROUTE = """---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s}
spec:
  parentRefs: [{name: edge%s}]
%s  rules:
  - backendRefs: %s
"""


def apply(rig: Rig, block: Block, text: str) -> None:
    compiled, problems = compile_given(text, block)
    assert [one for one in problems if one.severity == Severity.ERROR] == []
    rig.apply(compiled.snapshots)


def edge(*listeners: str) -> str:
    return EDGE + "".join(f"  - {{{one}}}\n" for one in listeners)


def tcp(name: str, section: str, backends: str) -> str:
    return ROUTE % ("TCPRoute", name, f", sectionName: {section}", "", backends)


def exchange(connection: socket.socket, text: str) -> str:
    connection.sendall(text.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        more = connection.recv(4096)
        if not more:
            return "closed"
        answer += more
    return answer.decode()


def test_an_open_connection_outlives_changes_beside_it(rig: Rig, block: Block) -> None:
    one = "name: one, protocol: TCP, port: 7001"
    stays = tcp("stays", "one", "[{name: stream-1, port: 7000}]")
    apply(rig, block, edge(one) + stays)
    with socket.create_connection((block.address(1), 7001), 10) as connection:
        assert "stream-1" in exchange(connection, "before")
        added = tcp("added", "two", "[{name: stream-2, port: 7000}]")
        apply(rig, block, edge(one, "name: two, protocol: TCP, port: 7002") + stays + added)
        with socket.create_connection((block.address(1), 7002), 10) as other:
            assert "stream-2" in exchange(other, "new listener")
        assert "stream-1" in exchange(connection, "a listener was added")
        apply(rig, block, edge(one) + stays)
        assert "stream-1" in exchange(connection, "a listener was removed")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((block.address(1), 7002), 10)


def test_no_datagram_is_lost_when_addresses_or_backends_change(rig: Rig, block: Block) -> None:
    one = edge("name: one, protocol: UDP, port: 7001")
    two = one.replace("value: ADDR.1}", "value: ADDR.1}, {type: IPAddress, value: ADDR.2}")
    to = {number: ROUTE % ("UDPRoute", "one", "", "", f"[{{name: stream-{number}, port: 7000}}]") for number in (1, 2)}
    asked = read_request("UDP udp://-:7001 #x")
    for gateway, number in ((one, 1), (two, 1), (two, 2), (one, 2)):
        apply(rig, block, gateway + to[number])
        # The kernel chooses a socket by the client's port: with a left-over socket, some of so many would be lost.
        assert {rig.send(asked).upstream for _ in range(20)} == {f"stream-{number}"}


def test_names_of_a_tls_port_change_without_touching_other_names(rig: Rig, block: Block) -> None:
    listener = "name: tls, protocol: TLS, port: 10443, tls: {mode: Passthrough}"

    def named(name: str, number: int) -> str:
        backends = f"[{{name: stream-{number}, port: 7443}}]"
        return ROUTE % ("TLSRoute", name, "", f"  hostnames: [{name}.example]\n", backends)

    def server(name: str) -> str:
        return rig.send(read_request(f"TLS tls://{name}.example:10443 #x"), silent=True).upstream

    apply(rig, block, edge(listener) + named("one", 1) + named("two", 1))
    assert (server("one"), server("two"), server("three")) == ("stream-1", "stream-1", "none")
    apply(rig, block, edge(listener) + named("one", 1) + named("three", 2))
    assert (server("one"), server("two"), server("three")) == ("stream-1", "none", "stream-2")


KEEPALIVE = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: probes}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: one}]
  tcpKeepalive: {idleTime: 100s, interval: 10s, probes: 3}
"""


def timers(address: str, port: int) -> set[str]:
    """The kernel's timers of established connections to a place: 00 for none, 02 for keepalive probes."""
    place = bytes(int(part) for part in reversed(address.split("."))).hex().upper() + f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return {row[5].partition(":")[0] for row in rows if row[2] == place and row[3] == "01"}


@pytest.mark.parametrize(("policy", "probed"), [("", False), (KEEPALIVE, True)])
def test_silent_connections_to_backends_are_probed(rig: Rig, block: Block, policy: str, probed: bool) -> None:
    route = tcp("one", "one", "[{name: stream-2, port: 7000}]")
    apply(rig, block, edge("name: one, protocol: TCP, port: 7001") + route + policy)
    with socket.create_connection((block.address(1), 7001), 10) as connection:
        assert "stream-2" in exchange(connection, "x")
        assert ("02" in timers(block.address(32), 3000)) == probed


@contextmanager
def echo_on_localhost(kind: socket.SocketKind) -> Iterator[int]:
    """A server that answers everything with `{"server": "local", "got": ""}`; its port."""
    answer = b'{"server": "local", "got": ""}\n'
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()

        def serve() -> None:
            try:
                while True:
                    if kind == socket.SOCK_DGRAM:
                        _, client = server.recvfrom(4096)
                        server.sendto(answer, client)
                    else:
                        accepted, _ = server.accept()
                        with accepted:
                            accepted.recv(4096)
                            accepted.sendall(answer)
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        if kind == socket.SOCK_STREAM:
            server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("protocol", "kind"), [("TCP", socket.SOCK_STREAM), ("UDP", socket.SOCK_DGRAM)])
def test_backends_by_name_and_by_address_share(rig: Rig, block: Block, protocol: str, kind: socket.SocketKind) -> None:
    with echo_on_localhost(kind) as port:
        named = (
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: by-name}\n"
            f"spec: {{endpoints: [{{fqdn: {{hostname: localhost, port: {port}}}}}]}}\n"
        )
        both = "[{group: gateway.envoyproxy.io, kind: Backend, name: by-name}, {name: stream-1, port: 7000}]"
        text = edge(f"name: one, protocol: {protocol}, port: 7001") + ROUTE % (
            f"{protocol}Route",
            "mixed",
            "",
            "",
            both,
        )
        apply(rig, block, text + named)
        asked = read_request(f"{protocol} {protocol.lower()}://-:7001 #x")
        assert {rig.send(asked).upstream for _ in range(40)} == {"local", "stream-1"}


HOSTS = ("", "*.example", "*.shop.example", "shop.example", "a.shop.example", "*.a.shop.example")
ASKED = ("example", "shop.example", "a.shop.example", "b.shop.example", "x.a.shop.example", "y.example", "z.test")


def wide(pattern: str, name: str) -> bool:
    """Whether a hostname stands for a name, or for all names of another hostname."""
    if not pattern or pattern == name:
        return True
    return pattern.startswith("*.") and name.removeprefix("*").endswith(pattern[1:]) and name != pattern[2:]


def rank(pattern: str) -> tuple[bool, int]:
    return bool(pattern) and not pattern.startswith("*"), len(pattern)


def expected(name: str, listeners: list[str], routes: list[tuple[int, list[str]]]) -> str:
    """Which server a name leads to. `routes`: a server and hostnames, the oldest first."""
    listener = max((one for one in listeners if wide(one, name)), key=rank, default=None)
    if listener is None:
        return "none"
    found = [
        (rank(common), rank(host), -age, server)
        for age, (server, hosts) in enumerate(routes)
        for host in hosts or [""]
        for common in shared(listener, host)
        if wide(common, name)
    ]
    return f"stream-{max(found)[3]}" if found else "none"


def shared(listener: str, host: str) -> list[str]:
    """What a listener and a route have in common: the narrower of the two, or nothing."""
    if wide(listener, host) and (host or not listener):
        return [host]
    return [listener] if wide(host, listener) else []


@pytest.mark.parametrize("seed", range(12))
def test_names_go_where_a_plain_model_says(rig: Rig, block: Block, seed: int) -> None:
    chance = random.Random(seed)
    listeners = chance.sample(HOSTS, chance.randint(1, 4))
    routes = [
        (chance.randint(1, 2), chance.sample(HOSTS[1:], chance.randint(0, 3))) for _ in range(chance.randint(1, 5))
    ]
    lines = [
        f'name: l{number}, protocol: TLS, port: 10443, tls: {{mode: Passthrough}}, hostname: "{host}"'
        if host
        else f"name: l{number}, protocol: TLS, port: 10443, tls: {{mode: Passthrough}}"
        for number, host in enumerate(listeners)
    ]
    written = [
        ROUTE
        % (
            "TLSRoute",
            f"r{age}",
            "",
            f"  hostnames: {hosts}\n" if hosts else "",
            f"[{{name: stream-{server}, port: 7443}}]",
        )
        for age, (server, hosts) in enumerate(routes)
    ]
    compiled, _ = compile_given(edge(*lines) + "".join(written), block)
    rig.apply(compiled.snapshots)
    asked = {name: read_request(f"TLS tls://{name}:10443 #x") for name in ASKED}
    actual = {name: rig.send(request, silent=True).upstream for name, request in asked.items()}
    assert actual == {name: expected(name, listeners, routes) for name in ASKED}
