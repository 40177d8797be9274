"""docs/edge.md says what Envoys get: each row of its tables is a setting that is really sent, or names the test of it.

In: the tables; the messages of a Gateway without a policy; the bootstrap. Out: failures that name a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import compiled
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features import FEATURES
from xds_server.supervise.bootstrap import Address, Bootstrap
from xds_server.translate.gateway import translate_gateway

ROOT = Path(__file__).parents[2]
POLICIES = """
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
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
"""
BEHAVIOURS = {
    "a request with both `Content-Length` and `Transfer-Encoding`, or with two lengths": "test_what_could_be_two_requests",
    "HTTP/2: resets at once, headers without an end, empty frames, PING and SETTINGS": "test_floods_end_the_connection",
    "TLS handshake; server name or PROXY header": "test_handshakes_that_do_not_end",
}
"""Rows that no single setting stands for: where they are shown."""


def rows() -> dict[str, str]:
    """What the tables say: the value by the name of the setting."""
    found = {}
    for line in (ROOT / "docs" / "edge.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and not line.startswith("| Setting"):
            found[cells[0].removeprefix("| ")] = cells[1]
    return found


def sent() -> tuple[Listener, HttpConnectionManager, Cluster, Any]:
    """What a Gateway without a policy sends, and the routes."""
    (gateway,) = compiled(POLICIES).gateways
    messages = [one.whole for one in translate_gateway(gateway, FEATURES, lambda _: None)[0]]
    listener = next(one for one in messages if isinstance(one, Listener))
    cluster = next(one for one in messages if isinstance(one, Cluster))
    manager = HttpConnectionManager()
    listener.filter_chains[0].filters[0].typed_config.Unpack(manager)
    routes = next(one for one in messages if one.DESCRIPTOR.name == "RouteConfiguration")
    return listener, manager, cluster, routes


def size(number: int) -> str:
    """A number of bytes as people write it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number % factor == 0:
            return f"{number // factor} {unit}"
    return str(number)


def time(seconds: float) -> str:
    """A time as people write it."""
    for unit, factor in (("1 hour", 3600), ("minutes", 60)):
        if seconds >= factor and seconds % factor == 0:
            return unit if unit.startswith("1") else f"{seconds / factor:g} {unit}"
    return f"{seconds:g} s"


def of_listeners() -> Iterator[tuple[str, str]]:
    listener, manager, _, routes = sent()
    options, http2 = manager.common_http_protocol_options, manager.http2_protocol_options
    yield "path: `.` and `..`", "resolved" if manager.normalize_path.value else ""
    yield "path: `//`", "one slash" if manager.merge_slashes else ""
    refused = manager.path_with_escaped_slashes_action == HttpConnectionManager.REJECT_REQUEST
    yield "path: `%2F`, `%5C`", "400" if refused else ""
    refused = options.headers_with_underscores_action == HttpProtocolOptions.REJECT_REQUEST
    yield "a header name with `_`", "400" if refused else ""
    headers = f"{manager.max_request_headers_kb.value} KiB, {options.max_headers_count.value} of them"
    yield "all headers of a request", headers
    yield "`Host: shop.example.`", "the dot goes" if manager.strip_trailing_host_dot else ""
    removed = manager.forward_client_cert_details == HttpConnectionManager.SANITIZE
    yield "`x-forwarded-client-cert`", "removed" if removed else ""
    counts = manager.use_remote_address.value and not manager.xff_num_trusted_hops
    yield "`x-forwarded-for`", "the address of the connection counts" if counts else ""
    words = [one.name for one in manager.early_header_mutation_extensions]
    yield "`x-envoy-*`", "removed from requests, and not told to clients" if "cellway.words-of-envoy" in words else ""
    yield "headers of a request", time(manager.request_headers_timeout.seconds)
    yield "a request without a byte", time(manager.stream_idle_timeout.seconds)
    yield "a request as a whole", "" if manager.HasField("request_timeout") else "no bound"
    yield "a connection without requests", time(options.idle_timeout.seconds)
    yield "connections of a listener", "" if "connection_limit" in str(listener) else "no bound of its own"
    yield "connections taken at once", str(listener.max_connections_to_accept_per_socket_event.value)
    windows = f"{size(http2.initial_stream_window_size.value)} and {size(http2.initial_connection_window_size.value)}"
    yield "HTTP/2 and HTTP/3: requests at a time; windows", f"{http2.max_concurrent_streams.value}; {windows}"
    route = routes.virtual_hosts[0].routes[0].route
    assert not route.HasField("retry_policy")
    timeout = f"{time(route.timeout.seconds if route.HasField('timeout') else 15)}, retries only where a policy says so"
    yield "a route", timeout


def of_clusters() -> Iterator[tuple[str, str]]:
    listener, _, cluster, _ = sent()
    buffers = {one.per_connection_buffer_limit_bytes.value for one in (listener, cluster)}
    yield "buffer of a connection, on both sides", " ".join(size(one) for one in buffers)
    (limits,) = cluster.circuit_breakers.thresholds
    values = {limits.max_connections.value, limits.max_pending_requests.value, limits.max_requests.value}
    yield (
        "connections, waiting requests, requests and retries of a backend",
        " ".join(f"{one} each" for one in values | {limits.max_retries.value}),
    )
    yield "connecting to a backend", time(cluster.connect_timeout.seconds)


def of_bootstraps() -> Iterator[tuple[str, str]]:
    bootstrap = yaml.safe_load(
        Bootstrap("default/edge", "here", Address("127.0.0.1", 18000), admin=Path("admin.sock")).text()
    )
    overload, (cluster,) = bootstrap["overload_manager"], bootstrap["static_resources"]["clusters"]
    heap, connections = (one["typed_config"] for one in overload["resource_monitors"])
    looked = f"looked at every {time(parse_seconds(overload['refresh_interval']))}"
    yield "connections in all", f"{connections['max_active_downstream_connections']:,}"
    yield "heap", f"{size(heap['max_heap_size_bytes'])}"
    assert looked in (ROOT / "docs" / "edge.md").read_text(encoding="utf-8")
    actions = {one["name"].rpartition(".")[2]: one["triggers"][0] for one in overload["actions"]}
    scaled = actions["reset_high_memory_stream"]["scaled"]
    between = f"at {scaled['scaling_threshold'] * 100:g} to {scaled['saturation_threshold'] * 100:g} % of it"
    yield between, "the largest requests are reset"
    yield share(actions["disable_http_keepalive"]), "connections are closed after their request"
    for point in overload["loadshed_points"]:
        assert share(point["triggers"][0]) == share(actions["shrink_heap"]), point["name"]
    assert {one["name"].rpartition(".")[2] for one in overload["loadshed_points"]} == {
        *("tcp_listener_accept", "http1_server_abort_dispatch", "http2_server_go_away_on_dispatch")
    }
    yield (
        share(actions["shrink_heap"]),
        "no new connections, memory is given back, HTTP/2 connections are told to leave",
    )
    yield share(actions["stop_accepting_requests"]), "503 for new requests"
    pipe = bootstrap["admin"]["address"]["pipe"]
    yield "admin interface", {0o600: "a Unix socket for its owner only"}[pipe["mode"]]
    (service,) = bootstrap["dynamic_resources"]["ads_config"]["grpc_services"]
    wait = service["envoy_grpc"]["retry_policy"]["retry_back_off"]
    first, last = (time(parse_seconds(wait[name])) for name in ("base_interval", "max_interval"))
    yield "waiting before Cellway is asked again", f"{first}, growing to {last}"
    options = next(iter(cluster["typed_extension_protocol_options"].values()))
    ping = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    interval, answer = (time(parse_seconds(ping[name])) for name in ("interval", "timeout"))
    yield "PING to Cellway", f"every {interval}, answered in {answer}"
    yield "buffer of the connection to Cellway", size(cluster["per_connection_buffer_limit_bytes"])
    programs = bootstrap["layered_runtime"]["layers"][0]["static_layer"]["re2.max_program_size.error_level"]
    yield "regular expressions in policies", f"RE2, programs up to size {programs}"


def parse_seconds(text: str) -> float:
    """A duration of protobuf's JSON form."""
    return float(text.removesuffix("s"))


def share(trigger: dict[str, Any]) -> str:
    return f"at {trigger['threshold']['value'] * 100:g} %"


SENT = dict([*of_listeners(), *of_clusters(), *of_bootstraps()])


@pytest.mark.parametrize("row", sorted(SENT))
def test_a_row_says_what_is_sent(row: str) -> None:
    assert rows()[row] == SENT[row]


def test_no_row_goes_unchecked() -> None:
    assert sorted(rows().keys() - SENT.keys() - BEHAVIOURS.keys()) == []
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_live_*.py"))
    assert [name for name in BEHAVIOURS.values() if f"def {name}" not in tests] == []
