"""What the bootstrap keeps an Envoy from: the one that Cellway writes, with smaller numbers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.running import reserve_block
from tests.gateways.clients import OK, exchange, gateway, ports, status
from tests.gateways.rig import Rig, route, service
from tests.translate.live import Envoy
from xds_server.supervise.bootstrap import Address, Bootstrap

_MOST = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An Envoy that may have three connections."""
    block = reserve_block()
    text = Bootstrap("default/edge", "test", Address("127.0.0.1", 65535)).text()
    for old, new in {
        "65535": "PORT",
        "DELTA_GRPC": "GRPC",
        "max_active_downstream_connections: 50000": f"max_active_downstream_connections: {_MOST}",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    envoy = Envoy(tmp_path_factory.mktemp("envoy"), template=text)
    yield Rig(envoy, block)
    envoy.close()
    block.release()


def test_connections_have_a_bound(small: Rig) -> None:
    policies = {"plain": ""}
    small.serve(gateway(policies) + service("one", *small.server("one").address) + route("web", "one"))
    address, port = small.block.address(1), ports(policies)["plain"]
    request = OK.replace(b"Connection: close\r\n", b"")
    held = [socket.create_connection((address, port), timeout=10) for _ in range(_MOST)]
    try:
        for one in held:
            one.sendall(request)
            assert status(one.recv(65536)) == 200
        assert exchange(address, port, OK) == b"", "one more is closed"
        held[0].sendall(request)
        assert status(held[0].recv(65536)) == 200, "the others stay"
    finally:
        for one in held:
            one.close()
    deadline = time.monotonic() + 60
    while (answer := exchange(address, port, OK)) == b"" and time.monotonic() < deadline:
        pass
    assert status(answer) == 200
