"""Collectors that take what Envoys tell, and keep it: OpenTelemetry and access logs over gRPC, Zipkin and Datadog over HTTP.

In: exports of an Envoy. Out: log entries, spans and metrics as plain values, and what came with the calls.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import grpc

from xds_server.envoy_api.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from xds_server.envoy_api.opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from xds_server.envoy_api.opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from xds_server.envoy_api.opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from xds_server.envoy_api.opentelemetry.proto.common.v1.common_pb2 import KeyValue
from xds_server.envoy_api.opentelemetry.proto.trace.v1.trace_pb2 import Span

FoundT = TypeVar("FoundT")
_OTLP = "opentelemetry.proto.collector"


def until(look: Callable[[], FoundT], told: Callable[[], object] = str) -> FoundT:
    """What `look` gives once that is anything; fails with what is `told` after a minute."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
    return found


def texts(attributes: Any) -> dict[str, str]:
    """Attributes by name."""
    found: dict[str, str] = {}
    for one in attributes:
        assert isinstance(one, KeyValue)
        kind = one.value.WhichOneof("value")
        found[one.key] = str(getattr(one.value, kind)) if kind else ""
    return found


@dataclass(frozen=True)
class Told:
    """One thing that was told: its own attributes, those of the resource, and the headers of the call."""

    name: str
    attributes: dict[str, str]
    resource: dict[str, str]
    headers: dict[str, str]
    span: Span


class GrpcCollector:
    """A collector of all three signals, and of Envoy's own access logs."""

    def __init__(self) -> None:
        self.entries: list[Told] = []
        self.spans: list[Told] = []
        self.metrics: list[Told] = []
        self.points: dict[str, list[Any]] = {}
        self.streams: list[StreamAccessLogsMessage] = []
        self._grpc = grpc.server(ThreadPoolExecutor(8))
        for service, take, request, answer in (
            ("logs.v1.LogsService", self._logs, ExportLogsServiceRequest, ExportLogsServiceResponse),
            ("trace.v1.TraceService", self._traces, ExportTraceServiceRequest, ExportTraceServiceResponse),
            ("metrics.v1.MetricsService", self._metrics, ExportMetricsServiceRequest, ExportMetricsServiceResponse),
        ):
            handler = grpc.unary_unary_rpc_method_handler(
                take, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
            )
            self._add(f"{_OTLP}.{service}", "Export", handler)
        handler = grpc.stream_unary_rpc_method_handler(
            self._als,
            request_deserializer=StreamAccessLogsMessage.FromString,
            response_serializer=StreamAccessLogsResponse.SerializeToString,
        )
        self._add("envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs", handler)
        self.address = ("127.0.0.1", self._grpc.add_insecure_port("127.0.0.1:0"))
        self._grpc.start()

    def _add(self, service: str, method: str, handler: Any) -> None:
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def _logs(self, request: ExportLogsServiceRequest, context: grpc.ServicerContext) -> ExportLogsServiceResponse:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for one in scope.log_records:
                    shared = texts(resource.resource.attributes)
                    told = Told(one.body.string_value, texts(one.attributes), shared, _headers(context), Span())
                    self.entries.append(told)
        return ExportLogsServiceResponse()

    def _traces(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for one in scope.spans:
                    shared = texts(resource.resource.attributes)
                    self.spans.append(Told(one.name, texts(one.attributes), shared, _headers(context), one))
        return ExportTraceServiceResponse()

    def _metrics(
        self, request: ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for one in scope.metrics:
                    shared = texts(resource.resource.attributes)
                    self.points.setdefault(one.name, []).append(one)
                    self.metrics.append(Told(one.name, {}, shared, _headers(context), Span()))
        return ExportMetricsServiceResponse()

    def _als(
        self, messages: Iterator[StreamAccessLogsMessage], context: grpc.ServicerContext
    ) -> StreamAccessLogsResponse:
        del context
        named = ""
        for one in messages:
            # The first message of a stream says who writes.
            named = one.identifier.log_name or named
            one.identifier.log_name = named
            self.streams.append(one)
        return StreamAccessLogsResponse()

    def close(self) -> None:
        """Stop."""
        self._grpc.stop(None).wait(5)


def _headers(context: grpc.ServicerContext) -> dict[str, str]:
    return {str(name): str(value) for name, value in context.invocation_metadata()}


class HttpCollector:
    """Takes what is posted: its path, its headers and its body."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = b""
                if self.headers.get("transfer-encoding") == "chunked":
                    while length := int(self.rfile.readline(), 16):
                        body += self.rfile.read(length)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): text for name, text in self.headers.items()}
                collector.posted.append((self.path, headers, body))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = ("127.0.0.1", int(self._http.server_address[1]))
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def spans(self) -> list[dict[str, Any]]:
        """Spans of Zipkin."""
        return [span for path, _, body in list(self.posted) if path == "/api/v2/spans" for span in json.loads(body)]

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()
