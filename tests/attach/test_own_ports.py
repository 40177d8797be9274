"""Where an Envoy tells Prometheus what it counts: only where that is said, and never where something else is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.documents import compiled
from xds_server.attach.reach import Reach, own_place
from xds_server.cli.options import DEFAULT_ADMIN
from xds_server.compile import Compiled, Options
from xds_server.supervise.bootstrap import Address, Bootstrap

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{value: ADDRESS}]
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: told}}
  listeners: [{name: http, protocol: HTTP, port: 80}, {name: udp, protocol: UDP, port: 81}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: told}
spec: {telemetry: {metrics: {prometheus: PROMETHEUS}}}
"""


def told(prometheus: dict[str, object], address: str = "127.0.0.2") -> Compiled:
    return compiled(WORLD.replace("ADDRESS", address).replace("PROMETHEUS", json.dumps(prometheus)))


@pytest.mark.parametrize(
    ("prometheus", "places"),
    [
        ({"address": "127.0.0.3"}, [("127.0.0.3", 19100)]),
        ({"address": "::1", "port": 9000}, [("::1", 9000)]),
        ({"address": "127.0.0.3", "port": 80}, [("127.0.0.3", 80)]),
        ({"address": "127.0.0.2", "port": 81}, [("127.0.0.2", 81)]),
        ({"address": "127.0.0.3", "disable": True}, []),
        ({"disable": True}, []),
    ],
)
def test_it_is_told_where_that_is_written(prometheus: dict[str, object], places: list[tuple[str, int]]) -> None:
    found = told(prometheus)
    (gateway,) = found.gateways
    assert [(*port.addresses, port.port) for port in gateway.ports if port.own] == places
    assert found.diagnostics == ()
    listeners = found.snapshots["default/edge"].get("type.googleapis.com/envoy.config.listener.v3.Listener")
    assert [name for name in listeners if "/metrics-" in name] == [f"default/edge/metrics-{port}" for _, port in places]
    assert gateway.process is not None
    assert ("cellway_admin" in gateway.process.start) == bool(places)


@pytest.mark.parametrize(
    ("prometheus", "address"),
    [
        ({"address": "127.0.0.2", "port": 80}, "127.0.0.2"),
        ({"address": "127.0.0.3", "port": 80}, "0.0.0.0"),
        ({"address": "0.0.0.0", "port": 80}, "127.0.0.2"),
    ],
)
def test_where_something_else_is_served_it_is_not(prometheus: dict[str, object], address: str) -> None:
    found = told(prometheus, address)
    assert [one.code for one in found.diagnostics] == ["A152"]
    (gateway,) = found.gateways
    assert [(port.port, port.own) for port in gateway.ports] == [(80, False), (81, False)]


def serving(admin: Address, *, here: bool = True) -> Options:
    """What a server says whose admin API is there; `here`: Envoys run on its machine."""
    return Options(reach=Reach((own_place("the admin API", admin.host, admin.port, ()),), names_lead_here=here))


@pytest.mark.parametrize(
    ("server", "address"), [("127.0.0.3", "127.0.0.3"), ("127.0.0.3", "0.0.0.0"), ("0.0.0.0", "127.0.0.3")]
)
def test_where_the_server_is_it_is_not_told_and_no_listener_is_there(server: str, address: str) -> None:
    text = WORLD.replace("ADDRESS", "127.0.0.2").replace("PROMETHEUS", json.dumps({"address": address, "port": 9000}))
    found = compiled(text, serving(Address(server, 9000)))
    (problem,) = found.diagnostics
    assert (problem.code, "where the admin API is" in problem.message) == ("A152", True)
    assert [(port.port, port.own) for port in found.gateways[0].ports] == [(80, False), (81, False)]
    text = text.replace("9000", "9001").replace("127.0.0.2", address)
    for port, left in ((80, [81, 9001]), (81, [80, 81, 9001])):  # datagrams are something else
        found = compiled(text, serving(Address(server, port)))
        assert [one.port for one in found.gateways[0].ports] == left
        refused = [
            (one.code, one.span and one.span.line, "where the admin API is" in one.message) for one in found.diagnostics
        ]
        assert refused == ([("A103", 8, True)] if port == 80 else [])
    assert compiled(text, serving(Address(server, 80), here=False)).diagnostics == ()


def test_what_is_told_without_a_port_is_not_where_the_server_is() -> None:
    host, _, port = DEFAULT_ADMIN.rpartition(":")
    text = WORLD.replace("ADDRESS", "127.0.0.2").replace("PROMETHEUS", json.dumps({"address": host}))
    assert compiled(text, serving(Address(host, int(port)))).diagnostics == ()


@pytest.mark.parametrize("prometheus", [{}, {"port": 9000}, {"address": "edge.example"}, {"address": "224.0.0.1"}])
def test_nobody_guesses_where(prometheus: dict[str, object]) -> None:
    found = told(prometheus)
    assert [one.code for one in found.diagnostics] == ["F103"]
    assert found.gateways[0].ports == ()


@pytest.mark.parametrize("admin", [Address("127.0.0.1", 19000), Address("::1", 19000), Path("admin.sock")])
def test_an_envoy_knows_its_own_admin_interface(admin: Address | Path) -> None:
    (gateway,) = told({"address": "127.0.0.3"}).gateways
    assert gateway.process is not None

    def places(text: str) -> tuple[object, object]:
        whole = yaml.safe_load(text)
        clusters = {one["name"]: one for one in whole["static_resources"]["clusters"]}
        (endpoint,) = clusters["cellway_admin"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
        return whole["admin"]["address"], endpoint["endpoint"]["address"]

    start, xds = gateway.process.start, Address("127.0.0.1", 1)
    own, led_to = places(Bootstrap("default/edge", "a", xds, admin, more=start).text())
    assert own == led_to
    assert str(admin.port if isinstance(admin, Address) else admin) in str(own)


PATCH = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: wider}
spec:
  type: JSONPatch
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  jsonPatches:
  - type: type.googleapis.com/envoy.config.listener.v3.Listener
    name: default/edge/metrics-19100
    operation: OPERATION
"""
ROUTES = "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": f"{ROUTES}/match", "value": {"prefix": "/"}},
        {"op": "remove", "path": f"{ROUTES}/match/headers/1"},
        {"op": "add", "path": f"{ROUTES}/route/prefix_rewrite", "value": "/quitquitquit"},
        {"op": "add", "path": "/per_connection_buffer_limit_bytes", "value": 1024},
    ],
)
def test_no_patch_makes_the_way_to_the_admin_interface_wider(operation: dict[str, object]) -> None:
    text = WORLD.replace("ADDRESS", "127.0.0.2").replace("PROMETHEUS", '{"address": "127.0.0.3"}')
    before = compiled(text)
    after = compiled(text + PATCH.replace("OPERATION", json.dumps(operation)), Options(extenders=("*",)))
    assert [(one.code, "nobody changes it" in one.message) for one in after.diagnostics] == [("T131", True)]
    assert after.snapshots["default/edge"].versions == before.snapshots["default/edge"].versions
