"""A service that processes requests and answers for Envoy (`envoy.service.ext_proc.v3.ExternalProcessor`).

It adds `x-proc: NAME` to requests and answers, turns bodies that it is sent into upper case, and answers paths that begin
with `/deny` itself. `heard` are the kinds of all that it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from xds_server.envoy_api.envoy.service.ext_proc.v3.external_processor_pb2 import (
    CommonResponse,
    ProcessingRequest,
    ProcessingResponse,
)

_NAME = "envoy.service.ext_proc.v3.ExternalProcessor"


class Processor:
    """The service on a port of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[ProcessingRequest] = []
        self._grpc = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=ProcessingRequest.FromString,
            response_serializer=ProcessingResponse.SerializeToString,
        )
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_NAME, {"Process": handler}),))
        self.address = ("127.0.0.1", self._grpc.add_insecure_port("127.0.0.1:0"))
        self._grpc.start()

    def _process(
        self, requests: Iterator[ProcessingRequest], context: grpc.ServicerContext
    ) -> Iterator[ProcessingResponse]:
        del context
        for request in requests:
            self.heard.append(request)
            yield self._answer(request)

    def _answer(self, request: ProcessingRequest) -> ProcessingResponse:
        answer = ProcessingResponse()
        if request.HasField("request_headers"):
            headers = {one.key: one.raw_value.decode() for one in request.request_headers.headers.headers}
            if headers.get(":path", "").startswith("/deny"):
                answer.immediate_response.status.code = 403  # type: ignore[assignment]
                answer.immediate_response.body = b"denied"
                return answer
            self._mark(answer.request_headers.response)
        elif request.HasField("response_headers"):
            self._mark(answer.response_headers.response)
        elif request.HasField("request_body"):
            answer.request_body.response.body_mutation.body = request.request_body.body.upper()
        elif request.HasField("response_body"):
            answer.response_body.response.body_mutation.body = request.response_body.body.upper()
        return answer

    def _mark(self, response: CommonResponse) -> None:
        told = response.header_mutation.set_headers.add()
        told.header.key, told.header.raw_value = "x-proc", self.name.encode()

    def kinds(self) -> list[str]:
        """The kinds of what was heard."""
        return [str(one.WhichOneof("request")) for one in self.heard]

    def close(self) -> None:
        """Stop."""
        self._grpc.stop(None).wait(5)
