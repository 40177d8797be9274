"""Access logs of EnvoyProxies, read from a real Envoy's output."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.documents import compiled
from tests.e2e.certificates import Authority
from tests.gateways.clients import OK, exchange, policy
from tests.gateways.collectors import GrpcCollector, until
from tests.gateways.proxies import PROXY, REFS, backend, gateway, proxy
from tests.gateways.rig import Rig, condition, route, secret, service
from xds_server.compile import Options
from xds_server.features.parts.log_formats import PLAIN
from xds_server.types import GATEWAY_GROUP, Key

TEXT = "TEXT %REQ(:METHOD)% %PATHS% %REQ(X-A?X-B):3% %START_TIME(%Y)% 100%%"
EVERY = {name.lower(): f"%{name}%" for name in sorted(PLAIN)}
SETTINGS: list[dict[str, Any]] = [
    {"format": {"type": "Text", "text": TEXT.replace("%PATHS%", "%REQ(:PATH)%")}, "type": "Route"},
    {"format": {"json": {"kind": "json", "agent": "%REQ(USER-AGENT)%", **EVERY}}},
    {"format": {"text": "PORT %DOWNSTREAM_LOCAL_PORT%"}, "type": "Listener"},
]
TCP = """
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bytes}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
"""


def class_(more: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: ours}\n"
        f"spec: {{controllerName: cellway.dev/gateway-controller{more}}}\n---\n"
    )


def lines(rig: Rig, *wanted: str) -> list[str]:
    """What the Envoy printed, once all of these texts are in it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = rig.envoy.log()
        if all(one in text for one in wanted):
            return text.splitlines()
        time.sleep(0.05)
    raise AssertionError(f"{wanted} not in {rig.envoy.log()}")


def test_lines_of_text_and_json(rig: Rig) -> None:
    sink = [{"type": "File", "file": {"path": "/dev/stdout"}}]
    telemetry = {"accessLog": {"settings": [{**one, "sinks": sink} for one in SETTINGS]}}
    text = gateway() + proxy(telemetry) + service("one", *rig.server("one").address) + route("web", "one")
    rig.serve(text + TCP)
    forged = b'x","status":"200'
    request = OK.replace(b"GET / ", b"GET /logged ").replace(
        b"Connection", b"User-Agent: " + forged + b"\r\nX-B: abcdef\r\nConnection"
    )
    exchange(rig.block.address(1), 10080, request)
    exchange(rig.block.address(1), 10090, OK)
    printed = lines(rig, "TEXT GET /logged abc 20", '"kind":"json"', "PORT 10080", "PORT 10090")
    assert [one.endswith(" 100%") for one in printed if one.startswith("TEXT GET /logged")] == [True]
    objects = [json.loads(one) for one in printed if one.startswith("{")]
    (asked,) = [one for one in objects if one["agent"] == forged.decode()]
    assert asked["decision"] == "allowed"
    assert {one["decision"] for one in objects if one["protocol"] is None} == {"allowed"}, "a connection"
    assert (asked["response_code"], asked["protocol"], asked["route_name"][:10]) == (200, "HTTP/1.1", "httproute/")


def test_one_of_a_class_and_the_default(rig: Rig) -> None:
    reference = ", " + PROXY.replace("name: logs", "name: logs, namespace: default")
    text = class_(reference) + gateway("") + proxy({"accessLog": {}})
    text += service("one", *rig.server("one").address) + route("web", "one")
    rig.serve(text)
    exchange(rig.block.address(1), 10080, OK.replace(b"GET / ", b"GET /of-the-class "))
    (line,) = [one for one in lines(rig, "/of-the-class") if "/of-the-class" in one]
    assert (json.loads(line)["status"], json.loads(line)["method"]) == (200, "GET")


def test_nothing_is_logged_unless_it_is_asked_for(rig: Rig) -> None:
    rest = service("one", *rig.server("one").address) + route("web", "one")
    sink = [{"file": {"path": "/dev/stderr"}}]
    for number, (head, told) in enumerate(
        [
            (gateway(""), False),
            (gateway() + proxy({"accessLog": {"disable": True}}), False),
            (gateway() + proxy({"accessLog": {"settings": [{"sinks": sink}]}}), True),
        ]
    ):
        rig.serve(head + rest)
        exchange(rig.block.address(1), 10080, OK.replace(b"GET / ", b"GET /turn-%d " % number))
        if told:
            printed = lines(rig, f"/turn-{number}")
    assert not [one for one in printed if "/turn-0" in one or "/turn-1" in one]


@pytest.fixture(scope="module")
def collector() -> Iterator[GrpcCollector]:
    running = GrpcCollector()
    yield running
    running.close()


def otel(settings: Any) -> Any:
    """A log of a collector."""
    return {"accessLog": {"settings": [{"sinks": [{"openTelemetry": settings}]}]}}


def test_entries_go_to_an_opentelemetry_collector(rig: Rig, collector: GrpcCollector) -> None:
    host, port = collector.address
    headers = [{"name": "X-Key", "value": "token-1"}]
    json_ = {"path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%"}
    by_ref = {"type": "OpenTelemetry", "openTelemetry": {**REFS, "resourceAttributes": {"env": "%HOSTNAME%"}}}
    by_host = {"openTelemetry": {"host": host, "port": port, "headers": headers, "resources": {"env": "old"}}}
    settings = [
        {"format": {"text": "BOTH %REQ(:PATH)%", "json": json_}, "sinks": [by_ref], "type": "Route"},
        {"format": {"type": "JSON", "json": json_}, "sinks": [by_host], "type": "Upstream"},
    ]
    text = gateway() + proxy({"accessLog": {"settings": settings}}) + backend("collector", collector.address)
    rig.serve(text + service("one", *rig.server("one").address) + route("web", "one"))
    exchange(rig.block.address(1), 10080, OK.replace(b"GET / ", b"GET /told "))
    found = until(lambda: collector.entries if len(collector.entries) > 1 else [], rig.envoy.log)
    routed = next(one for one in found if one.name == "BOTH /told")
    assert routed.attributes == {"path": "/told", "status": "200"}
    assert (routed.resource["env"], routed.resource["log_name"]) == ("%HOSTNAME%", "default/edge")
    tried = next(one for one in found if not one.name)
    assert (tried.attributes["path"], tried.attributes["status"], tried.resource["env"]) == ("/told", "200", "old")
    assert tried.headers["x-key"] == "token-1"


def test_entries_go_to_a_service_of_access_logs(rig: Rig, collector: GrpcCollector) -> None:
    http = {"requestHeaders": ["X-Who"], "responseHeaders": ["x-from-backend"]}
    settings = [
        {"sinks": [{"type": "ALS", "als": {**REFS, "type": "HTTP", "http": http}}], "type": "Route"},
        {"sinks": [{"als": {**REFS, "type": "TCP", "logName": "connections"}}], "type": "Listener"},
    ]
    text = gateway() + proxy({"accessLog": {"settings": settings}}) + backend("collector", collector.address)
    rig.serve(text + service("one", *rig.server("one").address) + route("web", "one") + TCP)
    exchange(rig.block.address(1), 10080, OK.replace(b"Connection", b"X-Who: ann\r\nConnection"))
    exchange(rig.block.address(1), 10090, OK)
    requests = until(lambda: _logged(collector, "default/edge", "http_logs"))
    (asked,) = [one for one in requests if one.request.request_method]
    assert (asked.request.path, asked.request.request_headers["x-who"]) == ("/", "ann")
    assert asked.response.response_code.value == 200
    assert dict(asked.response.response_headers) == {"x-from-backend": "1"}
    ports = {10080, 10090}
    local = "downstream_local_address"
    until(lambda: ports <= {getattr(one.common_properties, local).socket_address.port_value
                            for one in _logged(collector, "connections", "tcp_logs")})  # fmt: skip


def printed(rig: Rig, pattern: str) -> re.Match[str] | None:
    """Where the pattern is in what the Envoy printed."""
    return re.search(pattern, rig.envoy.log())


def test_fingerprints_of_tls_clients(rig: Rig) -> None:
    certificate = "tls: {certificateRefs: [{name: cert}]}"
    tls = gateway().replace("listeners: [", f"listeners: [{{name: tls, protocol: HTTPS, port: 10443, {certificate}}}, ")
    form = "MARK ja3=%TLS_JA3_FINGERPRINT% ja4=%TLS_JA4_FINGERPRINT%"
    log = {"accessLog": {"settings": [{"format": {"text": form}, "sinks": [{"file": {"path": "/dev/stdout"}}]}]}}
    text = tls + proxy(log) + secret("cert", Authority().issue("shop.example"))
    text += service("one", *rig.server("one").address) + route("web", "one")
    for fingerprints, pattern in (
        ("[JA3, JA4]", r"MARK ja3=[0-9a-f]{32} ja4=t1[0-9a-z]+_[0-9a-f]{12}_[0-9a-f]{12}"),
        ("[JA4]", "MARK ja3=- ja4=t1"),
    ):
        rig.serve(text + policy("tls", f"tls: {{fingerprints: {fingerprints}}}"))
        assert rig.ask_tls("shop.example")[0] == 200
        assert until(partial(printed, rig, pattern), rig.envoy.log)


def _logged(collector: GrpcCollector, name: str, kind: str) -> list[Any]:
    """Entries of a log."""
    found = [one for one in list(collector.streams) if one.identifier.log_name == name]
    return [entry for one in found for entry in getattr(one, kind).log_entry]


def test_only_what_is_asked_for_goes_to_a_file(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    settings = [
        {
            "format": {"text": "FILE %REQ(:PATH)% %RESPONSE_CODE%"},
            "matches": [
                "response.code >= 400",
                "request.headers['x-tester'] == 'yes'",
                "request.duration < duration('60s')",
            ],
            "sinks": [{"file": {"path": str(path)}}],
        }
    ]
    text = gateway() + proxy({"accessLog": {"settings": settings}})
    text += service("one", *rig.server("one").address) + route("web", "one")
    rig.serve(text, options=Options(log_folders=(str(tmp_path),)))
    for asked, tester in ((b"/status/404?a", b"no"), (b"/status/200", b"yes"), (b"/status/404?b", b"yes")):
        request = OK.replace(b"GET / ", b"GET " + asked + b" ").replace(
            b"Connection", b"X-Tester: " + tester + b"\r\nConnection"
        )
        exchange(rig.block.address(1), 10080, request)
    until(lambda: path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8") == "FILE /status/404?b 404\n"


@pytest.mark.parametrize(
    ("telemetry", "place"),
    [
        ({"accessLog": {"settings": [{"sinks": [{"file": {"path": "/etc/passwd"}}]}]}}, "own output"),
        ({"accessLog": {"settings": [{"format": {"text": "%ENVIRONMENT(X)%"}}]}}, "%ENVIRONMENT%"),
        ({"accessLog": {"settings": [{"format": {"text": "%REQ%"}}]}}, "needs the name of a header"),
        ({"accessLog": {"settings": [{"format": {"text": "100% sure"}}]}}, "begins no operator"),
        ({"accessLog": {"settings": [{"format": {"text": "%PROTOCOL(x)%"}}]}}, "has no argument"),
        ({"accessLog": {"settings": [{"format": {"text": "%START_TIME(\n)%"}}]}}, "is no format of a time"),
        ({"accessLog": {"settings": [{"format": {"json": {"a": "%NOPE%"}}}]}}, "%NOPE%"),
        ({"accessLog": {"settings": [{"format": {"type": "JSON", "text": "x"}}]}}, "needs the field json"),
        ({"accessLog": {"settings": [{"format": {"text": "x", "json": {"a": "b"}}}]}}, "needs the field text"),
        ({"accessLog": {"settings": [{"matches": ["response.cod == 1"]}]}}, "cod"),
        ({"accessLog": {"settings": [{"matches": ["response.code"]}]}}, "true or false"),
        ({"accessLog": {"settings": [{"sinks": [{"file": {"path": "/tmp/../etc/x"}}]}]}}, "own output"),
        ({"accessLog": {"settings": [{"sinks": [{"type": "ALS", "file": {"path": "/dev/stdout"}}]}]}}, "field als"),
        ({"accessLog": {"settings": [{"sinks": [{}]}]}}, "needs the field file"),
        ({"accessLog": {"settings": [{"sinks": [{"als": {"type": "TCP", "http": {}}}]}]}}, "hold no headers"),
        ({"accessLog": {"settings": [{"sinks": [{"als": {"type": "TCP"}}]}]}}, "needs backendRefs"),
        (
            {"accessLog": {"settings": [{"format": {"text": "x"}, "sinks": [{"als": {"type": "TCP", **REFS}}]}]}},
            "form of their own",
        ),
        (otel({"host": "169.254.169.254"}), "is not allowed"),
        (otel({"host": "a b"}), "is no host"),
        (otel({"host": "otel.example", **REFS}), "either host or backendRefs"),
        (otel({"host": "otel.example", "headers": [{"name": "te", "value": "x"}]}), "belongs to the call"),
        (otel({"host": "otel.example", "headers": [{"name": "A", "value": "x"}] * 2}), "is there twice"),
        (otel({"host": "otel.example", "headers": [{"name": "a", "value": "%ENVIRONMENT(X)%"}]}), "cannot hold a '%'"),
        (otel({"host": "otel.example", "resources": {}, "resourceAttributes": {}}), "its older name"),
    ],
)
def test_a_gateway_whose_log_cannot_be_kept_is_not_served(telemetry: Any, place: str) -> None:
    for one in telemetry["accessLog"]["settings"]:
        one.setdefault("sinks", [{"file": {"path": "/dev/stdout"}}])
    text = gateway() + proxy(telemetry) + backend("collector", ("127.0.0.1", 1))
    result = compiled(text.replace("ADDR", "127.0.0"))
    assert [one.code for one in result.diagnostics] == ["F103"]
    assert place in result.diagnostics[0].message
    assert result.gateways[0].ports == ()
    status = result.statuses[Key(GATEWAY_GROUP, "Gateway", "default", "edge")]
    assert condition(status.conditions, "Accepted") == (False, "InvalidParameters")
