"""Ports with an address of their own: where they listen, and that a mistake opens nothing."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from xds_server.types import GATEWAY_GROUP, Key

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, annotations: {cellway.dev/port-addresses: "PLACES"}}
spec:
  addresses: [{type: IPAddress, value: 127.0.0.7}]
  listeners:
  - {name: http, protocol: HTTP, port: 10080}
  - {name: inside, protocol: HTTP, port: 15001}
  - {name: dns, protocol: cellway.dev/DNS, port: 15053}
"""


def test_a_port_listens_on_its_own_address_and_the_others_where_the_gateway_does() -> None:
    found = compiled(GATEWAY.replace("PLACES", "15001=127.0.0.1, 15053=::1"))
    assert found.diagnostics == ()
    assert {port.port: port.addresses for port in found.gateways[0].ports} == {
        10080: ("127.0.0.7",),
        15001: ("127.0.0.1",),
        15053: ("::1",),
    }


@pytest.mark.parametrize(
    "places", ["", "15001", "15001=", "15001=localhost", "x=127.0.0.1", "15002=127.0.0.1", "15001=::1,15001=127.0.0.1"]
)
def test_a_mistake_closes_the_gateway(places: str) -> None:
    found = compiled(GATEWAY.replace("PLACES", places))
    assert [(one.code, one.span.line if one.span else 0) for one in found.diagnostics] == [("A106", 4)]
    assert [port for gateway in found.gateways for port in gateway.ports] == []
    status = found.statuses[Key(GATEWAY_GROUP, "Gateway", "default", "edge")]
    assert ("Accepted", False, "UnsupportedValue") in [(one.type, one.status, one.reason) for one in status.conditions]
