"""Probes and what comes of them, in a real Envoy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features import FEATURES
from xds_server.features.health import HealthCheckSpec
from xds_server.graph import Backend, Endpoint, Setting, VirtualHost
from xds_server.rules.messages import Rules
from xds_server.translate.gateway import translate_gateway

OFTEN = {"interval": "100ms", "timeout": "2s"}
SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"


def probed(**written: Any) -> Setting:
    return setting("health", HealthCheckSpec, {"panicThreshold": 0, "active": {**OFTEN, **written}})


def by_http(**written: Any) -> Setting:
    return probed(type="HTTP", http=written)


def logged(*matches: str) -> Setting:
    log = {"sinks": [{"type": "File", "file": {"path": "/dev/stderr"}}], "matches": list(matches)}
    return probed(type="HTTP", http={"path": "/logged"}, healthCheckLog=log)


class Health(grpc.GenericRpcHandler):
    """The gRPC health protocol: only the service `shop` is well."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if handler_call_details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: SERVING if request.endswith(b"shop") else NOT_SERVING
        )


@pytest.fixture(scope="module")
def grpc_port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Health(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(5)


def by_answers(one: Backend, two: Backend) -> dict[str, tuple[Backend, Setting]]:
    both = Backend("both", (*one.endpoints, *two.endpoints))
    said = {"type": "Text", "text": '"server": "two"'}
    binary = {"type": "Binary", "binary": "InNlcnZlciI6ICJ0d28i"}  # "server": "two"
    named = replace(one, name="named", endpoints=tuple(replace(each, hostname="own.name") for each in one.endpoints))
    echoed = {"type": "Text", "text": '"host": "own.name'}
    return {
        "well": (one, by_http(path="/status/202", expectedStatuses=[202])),
        "ill": (one, by_http(path="/status/200", expectedStatuses=[202])),
        "text": (both, by_http(path="/", expectedResponse=said)),
        "binary": (both, by_http(path="/", method="POST", expectedResponse=binary, requestBody=binary)),
        "named": (named, by_http(path="/named", expectedResponse=echoed)),
        "called": (named, by_http(path="/", hostname="other.name", expectedResponse=echoed)),
        "port": (one, probed(type="TCP", overrides={"port": 9})),
        "retriable": (one, by_http(path="/status/503", retriableStatuses=[503])),
        "log": (replace(one, name="log"), logged("Failure", "HealthyTransition")),
    }


def by_bytes(one: Backend, port: int) -> dict[str, tuple[Backend, Setting]]:
    request = {"type": "Text", "text": "GET /status/299 HTTP/1.1\r\nHost: a\r\n\r\n"}
    kind = Backend("grpc", (Endpoint("127.0.0.1", port),), protocol="h2c")
    return {
        "connected": (one, probed(type="TCP")),
        "answered": (
            one,
            probed(type="TCP", tcp={"send": request, "receive": {"type": "Text", "text": "HTTP/1.1 299"}}),
        ),
        "wrong": (one, probed(type="TCP", tcp={"send": request, "receive": {"type": "Binary", "binary": "MzAwIA=="}})),
        "asked": (kind, probed(type="GRPC", grpc={"service": "shop"})),
        "refused": (kind, probed(type="GRPC", grpc={"service": "cellar"})),
    }


@pytest.fixture(scope="module")
def edge(envoy: Envoy, grpc_port: int) -> Envoy:
    one, two = (backend(server.address, name=server.name) for server in map(envoy.server, ("one", "two")))
    checks = {**by_answers(one, two), **by_bytes(one, grpc_port)}
    envoy.apply(
        gateway(
            *(
                VirtualHost(f"{name}.example", (route(forward(where, suffix=f"~{name}"), check),))
                for name, (where, check) in checks.items()
            )
        )
    )
    return envoy


def healthy(edge: Envoy, cluster: str) -> int:
    return edge.stat(f"cluster.{cluster}.membership_healthy")


@pytest.mark.parametrize("name", ["well", "named", "connected", "answered"])
def test_what_is_well_gets_requests(edge: Envoy, name: str) -> None:
    assert edge.get(f"{name}.example").status_code == 200


@pytest.mark.parametrize("name", ["ill", "called", "port", "retriable", "wrong", "refused"])
def test_what_is_not_gets_none(edge: Envoy, name: str) -> None:
    answer = edge.get(f"{name}.example")
    assert (answer.status_code, answer.text) == (503, "no healthy upstream")


@pytest.mark.parametrize("name", ["text", "binary"])
def test_the_body_of_an_answer_tells_who_is_well(edge: Envoy, name: str) -> None:
    assert {edge.get(f"{name}.example").json()["server"] for _ in range(6)} == {"two"}


def test_servers_are_asked_by_the_grpc_health_protocol(edge: Envoy) -> None:
    assert healthy(edge, "grpc~asked") == 1
    assert healthy(edge, "grpc~refused") == 0


def test_probes_go_on_without_requests(edge: Envoy) -> None:
    seen = edge.servers[0].seen
    before = seen.count("/named")
    deadline = time.monotonic() + 60
    while seen.count("/named") < before + 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_outcomes_are_logged(edge: Envoy) -> None:
    edge.servers[0].broken.add("/logged")
    deadline = time.monotonic() + 60
    while edge.log().count('"health_check_failure_event"') < 2:
        assert time.monotonic() < deadline, edge.log()
        time.sleep(0.02)
    edge.servers[0].broken.clear()
    while '"add_healthy_event"' not in edge.log().partition('"health_check_failure_event"')[2]:
        assert time.monotonic() < deadline, edge.log()
        time.sleep(0.02)


def test_a_grpc_check_of_a_backend_without_http2_is_refused() -> None:
    asked = route(forward(backend(("127.0.0.1", 9))), probed(type="GRPC"))
    _, problems = translate_gateway(gateway(host("a.example", asked)), FEATURES, Rules().check)
    assert [(one.code, "HTTP/2" in one.message) for one in problems] == [("T101", True)]
