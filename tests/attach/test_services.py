"""Services and EndpointSlices: which endpoints of which ports take requests, and what an appProtocol means."""

from __future__ import annotations

import pytest

from tests.documents import compiled, parse
from xds_server.graph import Backend, Forward
from xds_server.types import GATEWAY_GROUP, Key

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: up, port: 80}]}]
---
"""


def service(spec: str) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: up}}\nspec: {spec}\n---\n"


def endpoints(ports: str, *endpoints: str, name: str = "up") -> str:
    return (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        f"metadata: {{name: {name}, labels: {{kubernetes.io/service-name: up}}}}\naddressType: IPv4\n"
        f"ports: {ports}\nendpoints: [{', '.join(endpoints)}]\n---\n"
    )


def backend(*documents: str) -> Backend:
    (gateway,) = compiled(WORLD + "".join(documents)).gateways
    action = gateway.ports[0].http_chains[0].hosts[0].routes[0].action
    assert isinstance(action, Forward)
    (destination,) = action.destinations
    assert destination.backend is not None
    return destination.backend


def places(found: Backend) -> list[str]:
    return [f"{one.address}:{one.port}" for one in found.endpoints]


ONE = "{addresses: [10.0.0.1]}"
TWO = "{addresses: [10.0.0.2]}"


@pytest.mark.parametrize(
    ("ports", "slices", "expected"),
    [
        ("[{port: 80}]", [("[{port: 3000}]", ONE)], ["10.0.0.1:3000"]),
        ("[{name: web, port: 80}]", [("[{name: web, port: 3000}, {name: admin, port: 9}]", ONE)], ["10.0.0.1:3000"]),
        ("[{name: web, port: 80}]", [("[{port: 3000}]", ONE)], ["10.0.0.1:3000"]),
        ("[{name: web, port: 80}]", [("[{name: admin, port: 9}]", ONE)], []),
        (
            "[{name: web, port: 80}, {name: admin, port: 81}]",
            [("[{name: web, port: 1}]", ONE), ("[{name: admin, port: 2}]", TWO)],
            ["10.0.0.1:1"],
        ),
        (
            "[{name: web, port: 80, targetPort: 3000}]",
            [("[{name: b, port: 9}, {name: c, port: 3000}]", ONE)],
            ["10.0.0.1:3000"],
        ),
        (
            "[{name: web, port: 80, targetPort: c}]",
            [("[{name: b, port: 9}, {name: c, port: 3000}]", ONE)],
            ["10.0.0.1:3000"],
        ),
        ("[{name: web, port: 80}]", [("[{name: web, port: 53, protocol: UDP}]", ONE)], []),
        (
            "[{name: web, port: 80}]",
            [("[{name: web, port: 1}]", TWO), ("[{name: web, port: 2}]", ONE)],
            ["10.0.0.1:2", "10.0.0.2:1"],
        ),
    ],
)
def test_a_slice_port_is_found(ports: str, slices: list[tuple[str, str]], expected: list[str]) -> None:
    pieces = [endpoints(number, one, name=f"s{place}") for place, (number, one) in enumerate(slices)]
    for cluster_ip in ("", ", clusterIP: None"):
        assert places(backend(service(f"{{ports: {ports}{cluster_ip}}}"), *pieces)) == expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["{}", "{}"], [1, 2]),
        (["{ready: true}", "{ready: false}"], [1]),
        (["{ready: true}", "{ready: false, serving: true, terminating: true}"], [1]),
        (["{ready: false}", "{ready: false, serving: true, terminating: true}"], [2]),
        (["{ready: false, serving: false, terminating: true}", "{ready: false}"], []),
        (["{terminating: true}", "{serving: true}"], [2]),
        (["{ready: true, terminating: true}", "{serving: false}"], [1]),
    ],
)
def test_conditions_say_who_takes_requests(conditions: list[str], expected: list[int]) -> None:
    written = [f"{{addresses: [10.0.0.{n}], conditions: {text}}}" for n, text in enumerate(conditions, 1)]
    found = backend(service("{ports: [{port: 80}]}"), endpoints("[{port: 1}]", *written))
    assert places(found) == [f"10.0.0.{number}:1" for number in expected]


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("kubernetes.io/h2c", "h2c"), ("grpc", "h2c"), ("kubernetes.io/ws", "http1"), ("http", "http1")],
)
def test_an_app_protocol_says_how_to_speak(name: str, protocol: str) -> None:
    found = backend(service(f"{{ports: [{{port: 80, appProtocol: {name}}}]}}"), endpoints("[{port: 1}]", ONE))
    assert found.protocol == protocol


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("{type: ExternalName, externalName: metadata.internal, ports: [{port: 80}]}", "UnsupportedValue"),
        ("{ports: [{port: 81}]}", "PortNotFound"),
        ("{ports: [{port: 80, protocol: UDP}]}", "PortNotFound"),
        ("{ports: [{port: 80, appProtocol: https}]}", "UnsupportedProtocol"),
    ],
)
def test_a_service_that_cannot_be_a_backend_says_why(spec: str, reason: str) -> None:
    result = compiled(WORLD + service(spec) + endpoints("[{port: 1}]", ONE))
    (parent,) = result.statuses[Key(GATEWAY_GROUP, "HTTPRoute", "default", "web")].parents
    resolved = next(one for one in parent.conditions if one.type == "ResolvedRefs")
    assert (resolved.status, resolved.reason) == (False, reason)
    assert [one.code for one in result.diagnostics] == ["A112"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (service("{ports: [{port: 80}, {name: b, port: 81}]}"), "each of several ports needs a name"),
        (service("{ports: [{name: a, port: 80}, {name: a, port: 81}]}"), "two ports are named 'a'"),
        (service("{ports: [{name: a, port: 80}, {name: b, port: 80}]}"), "port 80 is there twice"),
        (service("{sessionAffinity: ClientIP}"), "sessionAffinity"),
        (endpoints("[{port: 1}]", "{addresses: ['::1']}"), "::1 does not fit addressType IPv4"),
        (endpoints("[{port: 1}, {port: 2}]", ONE), "each port of a slice needs a name of its own"),
    ],
)
def test_what_kubernetes_refuses_is_refused(text: str, words: str) -> None:
    objects, problems = parse(text)
    assert objects == ()
    assert [words in one.message and one.span is not None for one in problems] == [True]


def test_what_kubernetes_writes_by_itself_is_no_mistake() -> None:
    spec = (
        "{ports: [{name: a, port: 80, nodePort: 30000}], clusterIPs: [10.1.1.1], ipFamilies: [IPv4], "
        "ipFamilyPolicy: SingleStack, internalTrafficPolicy: Cluster, sessionAffinity: None, type: NodePort}"
    )
    one = "{addresses: [10.0.0.1], nodeName: a, hints: {forZones: [{name: a}]}, targetRef: {kind: Pod, name: p}}"
    objects, problems = parse(service(spec) + endpoints("[{name: a, port: 1}]", one))
    assert problems == ()
    assert len(objects) == 2
