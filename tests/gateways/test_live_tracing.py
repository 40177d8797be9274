"""Traces from a real Envoy, read where they arrive: OpenTelemetry over gRPC, Zipkin and Datadog over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.documents import compiled
from tests.gateways.clients import OK, exchange
from tests.gateways.collectors import GrpcCollector, HttpCollector, Told, until
from tests.gateways.proxies import REFS, backend, gateway, policy, proxy
from tests.gateways.rig import Rig, condition, route, service
from xds_server.envoy_api.opentelemetry.proto.trace.v1.trace_pb2 import Span
from xds_server.types import GATEWAY_GROUP, Key

TAGS = {
    "customTags": {
        "fixed": {"literal": {"value": "%HOSTNAME%"}},
        "who": {"type": "RequestHeader", "requestHeader": {"name": "X-Who", "defaultValue": "nobody"}},
    },
    "tags": {"asked": "%REQ(:METHOD)% %REQ(:PATH)%"},
}
PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def collector() -> Iterator[GrpcCollector]:
    running = GrpcCollector()
    yield running
    running.close()


@pytest.fixture(scope="module")
def web() -> Iterator[HttpCollector]:
    running = HttpCollector()
    yield running
    running.close()


def serve(rig: Rig, tracing: Any, address: tuple[str, int], more: str = "", **telemetry: Any) -> None:
    """Trace requests of the Gateway at a collector."""
    text = gateway() + proxy({"tracing": tracing, **telemetry}) + backend("collector", address) + more
    rig.serve(text + service("one", *rig.server("one").address) + route("web", "one"))


def ask(rig: Rig, path: str, *headers: str, count: int = 3) -> str:
    """Requests; Envoy sends spans when there are some. The id of the last one, as its backend saw it."""
    lines = "".join(f"{one}\r\n" for one in headers)
    request = OK.replace(b"GET / ", b"GET " + path.encode() + b" ").replace(
        b"Connection", lines.encode() + b"Connection"
    )
    for _ in range(count):
        answer = exchange(rig.block.address(1), 10080, request)
        assert b" 200 " in answer
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["x-request-id"])


def spans_of(rig: Rig, collector: GrpcCollector, path: str) -> dict[Any, Told]:
    """The span of a request, and that of the call of its backend, by their kind."""

    def look() -> dict[Any, Told]:
        known = list(collector.spans)
        for one in known:
            if one.attributes.get("http.url", "").endswith(path):
                below = [other for other in known if other.span.parent_span_id == one.span.span_id]
                if below:
                    return {one.span.kind: one, below[0].span.kind: below[0]}
        return {}

    return until(look, rig.envoy.log)


def test_spans_go_to_an_opentelemetry_collector(rig: Rig, collector: GrpcCollector) -> None:
    own = {"headers": [{"name": "X-Key", "value": "token-1"}], "resourceAttributes": {"env": "%HOSTNAME%"}}
    names = {"client": "%REQ(:METHOD)% in", "server": "%REQ(:METHOD)% out"}
    tracing = {"provider": {**REFS, "openTelemetry": own}, "spanName": names, **TAGS}
    serve(rig, tracing, collector.address)
    request = ask(rig, "/traced", f"traceparent: 00-{PARENT}-00f067aa0ba902b7-01", "X-Who: ann")
    spans = spans_of(rig, collector, "/traced")
    incoming, outgoing = spans[Span.SPAN_KIND_SERVER], spans[Span.SPAN_KIND_CLIENT]
    assert (incoming.name, outgoing.name) == ("GET in", "GET out")
    assert incoming.span.trace_id.hex() == PARENT
    assert request[14] == "9"  # "sampled", in the place of the version of a UUID
    told = incoming.attributes
    assert (told["fixed"], told["who"], told["asked"]) == ("%HOSTNAME%", "ann", "GET /traced")
    assert (told["http.status_code"], incoming.headers["x-key"]) == ("200", "token-1")
    assert (incoming.resource["service.name"], incoming.resource["env"]) == ("edge.default", "%HOSTNAME%")


def test_a_route_has_a_share_and_tags_of_its_own(rig: Rig, collector: GrpcCollector) -> None:
    tracing = {"provider": {**REFS, "serviceName": "shop"}, "samplingRate": 0, **TAGS}
    own = {"tracing": {"samplingFraction": {"numerator": 1, "denominator": 1}, "tags": {"asked": "route", "more": "x"}}}
    other = route("other", "one", hostnames="other.example")
    serve(rig, tracing, collector.address, other + policy(own))
    exchange(rig.block.address(1), 10080, OK.replace(b"shop.example", b"other.example"))
    ask(rig, "/own")
    incoming = spans_of(rig, collector, "/own")[Span.SPAN_KIND_SERVER]
    told = incoming.attributes
    assert (told["asked"], told["more"], told["fixed"], incoming.resource["service.name"]) == (
        "route", "x", "%HOSTNAME%", "shop",
    )  # fmt: skip
    assert not [one for one in collector.spans if "other.example" in one.attributes.get("http.url", "")]


def test_a_route_keeps_the_share_of_its_gateway(rig: Rig, collector: GrpcCollector) -> None:
    nobody = {"numerator": 0}
    tracing = {"provider": REFS, "samplingFraction": nobody, "overallSamplingFraction": {"numerator": 100}}
    serve(rig, tracing, collector.address, policy({"tracing": {"tags": {"more": "x"}}}))
    ask(rig, "/quiet")
    own = {"tracing": {"samplingFraction": {"numerator": 1, "denominator": 1}}}
    serve(rig, tracing, collector.address, policy(own))
    ask(rig, "/loud")
    spans_of(rig, collector, "/loud")
    assert not [one for one in collector.spans if "/quiet" in one.attributes.get("http.url", "")]


def test_a_sampler_decides(rig: Rig, collector: GrpcCollector) -> None:
    def sampled(sampler: Any) -> Any:
        return {"provider": {**REFS, "openTelemetry": {"sampler": sampler}}}

    ratio = {"type": "ParentBasedTraceIdRatio", "samplingPercentage": {"numerator": 0}}
    serve(rig, sampled(ratio), collector.address)
    ask(rig, "/orphan")
    ask(rig, "/child", f"traceparent: 00-{'a' * 32}-00f067aa0ba902b7-01")
    spans_of(rig, collector, "/child")
    serve(rig, sampled({"type": "AlwaysOff"}), collector.address)
    ask(rig, "/never", f"traceparent: 00-{'b' * 32}-00f067aa0ba902b7-01")
    serve(rig, sampled({"type": "AlwaysOn"}), collector.address)
    ask(rig, "/always", f"traceparent: 00-{'c' * 32}-00f067aa0ba902b7-00")
    spans_of(rig, collector, "/always")
    urls = [one.attributes.get("http.url", "") for one in collector.spans]
    assert not [one for one in urls if one.endswith(("/orphan", "/never"))]


def test_spans_go_to_zipkin(rig: Rig, web: HttpCollector) -> None:
    host, port = web.address
    zipkin = {"enable128BitTraceId": True, "disableSharedSpanContext": True}
    tracing = {"provider": {"type": "Zipkin", "host": host, "port": port, "zipkin": zipkin}, **TAGS}
    serve(rig, tracing, web.address, requestID={"tracing": "Disable"})
    assert ask(rig, "/zipkin")[14] == "4"
    spans = until(lambda: [one for one in web.spans() if one["kind"] == "SERVER"], rig.envoy.log)
    (span, *_) = spans
    assert (len(span["traceId"]), span["localEndpoint"]["serviceName"]) == (32, "default/edge")
    assert (span["tags"]["asked"], span["tags"]["who"]) == ("GET /zipkin", "nobody")
    own = [one for one in web.spans() if one["traceId"] == span["traceId"]]
    assert len({one["id"] for one in own}) == len(own)


def test_spans_go_to_datadog(rig: Rig, web: HttpCollector) -> None:
    serve(rig, {"provider": {**REFS, "type": "Datadog", "serviceName": "shop-front"}, **TAGS}, web.address)
    ask(rig, "/datadog")

    def look() -> list[bytes]:
        return [body for path, _, body in list(web.posted) if path.startswith("/v0.4/traces") and b"/datadog" in body]

    (body, *_) = until(look, rig.envoy.log)
    assert (b"shop-front" in body, b"GET /datadog" in body) == (True, True)


def provider(**fields: Any) -> Any:
    """Tracing at a collector of OpenTelemetry."""
    return {"provider": {**REFS, **fields}}


SHARE = {"numerator": 1, "denominator": 3}
SAMPLER = {"openTelemetry": {"sampler": {"type": "AlwaysOn"}}}


@pytest.mark.parametrize(
    ("telemetry", "said"),
    [
        ({"tracing": {**provider(), "samplingFraction": {"numerator": 2, "denominator": 1}}}, "more than all"),
        ({"tracing": {**provider(), "samplingFraction": SHARE}}, "1 in 10000"),
        ({"tracing": {**provider(), "clientSamplingFraction": {"numerator": 1, "denominator": 1000}}}, "1 in 100,"),
        ({"tracing": {**provider(), "samplingFraction": {"numerator": 1}, "samplingRate": 1}}, "either samplingRate"),
        ({"tracing": {**provider(), "tags": {"a": "%ENVIRONMENT(X)%"}}}, "%ENVIRONMENT%"),
        ({"tracing": {**provider(), "customTags": {"a": {"type": "Environment", "environment": {"name": "X"}}}}}, "secrets"),
        ({"tracing": {**provider(), "customTags": {"a": {"type": "RequestHeader", "literal": {"value": "x"}}}}}, "requestHeader"),
        ({"tracing": {**provider(), "customTags": {"a": {"literal": {"value": "x"}}}, "tags": {"a": "x"}}}, "in customTags"),
        ({"tracing": {**provider(), "spanName": {"client": "a", "server": "%X%"}}}, "%X%"),
        ({"tracing": provider(type="Zipkin", serviceName="x")}, "name of its gateway"),
        ({"tracing": provider(type="Datadog", zipkin={})}, "zipkin is for type Zipkin"),
        ({"tracing": provider(openTelemetry={"sampler": {"type": "TraceIdRatio"}})}, "which need it"),
        ({"tracing": {**provider(**SAMPLER), "samplingRate": 5}}, "decides what is traced"),
        ({"tracing": {"provider": {}}}, "needs backendRefs"),
        ({"requestID": {"tracing": "Pack"}}, "no tracing beside it"),
    ],
)  # fmt: skip
def test_a_gateway_whose_traces_cannot_be_kept_is_not_served(telemetry: Any, said: str) -> None:
    text = gateway() + proxy(telemetry) + backend("collector", ("127.0.0.1", 1))
    result = compiled(text.replace("ADDR", "127.0.0"))
    assert [(one.code, said in one.message) for one in result.diagnostics] == [("F103", True)]
    assert result.gateways[0].ports == ()
    status = result.statuses[Key(GATEWAY_GROUP, "Gateway", "default", "edge")]
    assert condition(status.conditions, "Accepted") == (False, "InvalidParameters")


@pytest.mark.parametrize(
    ("telemetry", "own", "codes"),
    [
        ({"accessLog": {}}, {"tags": {"a": "x"}}, ["A149"]),
        ({"tracing": provider(**SAMPLER)}, {"samplingFraction": {"numerator": 1}}, ["A149"]),
        ({"tracing": provider(**SAMPLER)}, {"tags": {"a": "x"}}, []),
        ({"tracing": provider()}, {"samplingFraction": SHARE}, []),
        ({"tracing": provider()}, {"samplingFraction": {"numerator": 5, "denominator": 2}}, ["F103"]),
        ({"tracing": provider()}, {"tags": {"a": "%FILE_CONTENT(/etc/passwd)%"}}, ["F103"]),
    ],
)
def test_what_a_policy_says_of_traces(telemetry: Any, own: Any, codes: list[str]) -> None:
    text = gateway() + proxy(telemetry) + backend("collector", ("127.0.0.1", 1)) + policy({"tracing": own})
    text += service("one", "127.0.0.1", 2) + route("web", "one")
    assert [one.code for one in compiled(text.replace("ADDR", "127.0.0")).diagnostics] == codes
