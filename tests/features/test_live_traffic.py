"""What happens to requests on their way to a backend, and to answers on their way back, in a real Envoy."""

from __future__ import annotations

import gzip
import socket
from typing import Any

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, TrailersReceived

from tests.translate.graphs import Listed, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy, Server
from xds_server.features.bandwidth import BandwidthSpec
from xds_server.features.compression import CompressionSpec
from xds_server.features.fault import FaultSpec
from xds_server.features.request_buffer import RequestBufferSpec
from xds_server.graph import Setting

KIB = 1024
TEXT = "all the goods of the shop " * 100


def fault(**written: Any) -> Setting:
    return setting("fault", FaultSpec, written)


def bandwidth(**written: Any) -> Setting:
    return setting("bandwidth", BandwidthSpec, written)


def compression(*written: dict[str, Any]) -> Setting:
    return setting("compression", Listed(CompressionSpec), written)


HALF = {"abort": {"httpStatus": 503, "percentage": 50}}
RATE = {"limit": {"value": "64Ki", "unit": "Second"}}
TRAILED = {**RATE, "responseTrailers": {"prefix": "x-shop"}}
GZIP, BROTLI, ZSTD = {"type": "Gzip"}, {"type": "Brotli"}, {"type": "Zstd"}
SETTINGS = {
    "plain": (),
    "abort": (fault(abort={"httpStatus": 418}),),
    "grpc": (fault(abort={"grpcStatus": 14}),),
    "never": (fault(abort={"httpStatus": 503, "percentage": 0}),),
    "half": (fault(**HALF),),
    "delay": (fault(delay={"fixedDelay": "200ms"}),),
    "buffer": (setting("request_buffer", RequestBufferSpec, {"limit": "1Ki"}),),
    "up": (bandwidth(request=RATE),),
    "down": (bandwidth(response=TRAILED),),
    "gzip": (compression(GZIP),),
    "all": (compression(ZSTD, BROTLI, GZIP),),
    "other": (compression(BROTLI, GZIP, ZSTD),),
    "long": (compression({**GZIP, "minContentLength": "4Ki"}),),
}


@pytest.fixture(scope="module")
def shop(envoy: Envoy) -> Server:
    return envoy.server()


@pytest.fixture(scope="module")
def edge(envoy: Envoy, shop: Server) -> Envoy:
    action = forward(backend(shop.address))
    envoy.apply(gateway(*(host(f"{name}.example", route(action, *here)) for name, here in SETTINGS.items())))
    return envoy


def post(edge: Envoy, name: str, body: bytes) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{edge.port}/", headers={"Host": name}, content=body)


def test_an_error_in_place_of_the_backend(edge: Envoy, shop: Server) -> None:
    before = len(shop.seen)
    answer = edge.get("abort.example")
    assert (answer.status_code, answer.text) == (418, "fault filter abort")
    call = edge.get("grpc.example", "/shop.Shop/Buy", "POST", content_type="application/grpc")
    assert (call.status_code, call.headers["grpc-status"]) == (200, "14")
    assert len(shop.seen) == before, "the backend hears nothing of it"


def test_a_share_of_requests_fails(edge: Envoy) -> None:
    assert [edge.get("never.example").status_code for _ in range(5)] == [200] * 5
    assert {edge.get("half.example").status_code for _ in range(60)} == {200, 503}


def test_a_delay_is_made_and_counted(edge: Envoy) -> None:
    before = edge.stat("http.default/edge/http.fault.delays_injected")
    answer = edge.get("delay.example")
    assert (answer.status_code, answer.json()["path"]) == (200, "/")
    assert edge.stat("http.default/edge/http.fault.delays_injected") == before + 1


def test_clients_cannot_ask_for_faults(edge: Envoy) -> None:
    asked = {"x_envoy_fault_abort_request": "503", "x_envoy_fault_delay_request": "1000"}
    assert edge.get("plain.example", **asked).status_code == 200
    assert edge.get("never.example", **asked).status_code == 200


def test_longer_bodies_are_refused_before_the_backend_hears(edge: Envoy, shop: Server) -> None:
    assert post(edge, "buffer.example", b"x" * KIB).status_code == 200
    before = len(shop.seen)
    assert post(edge, "buffer.example", b"x" * (KIB + 1)).status_code == 413
    assert len(shop.seen) == before
    assert post(edge, "plain.example", b"x" * (KIB + 1)).status_code == 200


def test_a_buffered_request_has_a_length(edge: Envoy) -> None:
    def chunks() -> Any:
        yield b"ab"
        yield b"cd"

    told = {}
    for name in ("buffer.example", "plain.example"):
        answer = httpx.post(f"http://127.0.0.1:{edge.port}/status/200", headers={"Host": name}, content=chunks())
        told[name] = answer.json()["headers"]
    assert told["buffer.example"]["content-length"] == "4"
    assert "content-length" not in told["plain.example"]


def test_bytes_of_requests_are_held_back(edge: Envoy) -> None:
    assert post(edge, "up.example", b"x" * 96 * KIB).status_code == 200
    assert edge.stat("bandwidth_limit.http_bandwidth_limit.request_enforced") > 0
    assert edge.stat("bandwidth_limit.http_bandwidth_limit.response_enforced") == 0


def trailers(edge: Envoy, name: str) -> dict[str, str]:
    """The trailers of an answer over HTTP/2."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    client.increment_flow_control_window(1024 * KIB)
    client.send_headers(
        1, [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", name)], end_stream=True
    )
    client.increment_flow_control_window(1024 * KIB, 1)
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(client.data_to_send())
        while data := connection.recv(64 * KIB):
            for event in client.receive_data(data):
                if isinstance(event, TrailersReceived):
                    return {bytes(key).decode(): bytes(value).decode() for key, value in event.headers}
                assert not isinstance(event, StreamEnded), "the answer has no trailers"
            connection.sendall(client.data_to_send())
    return {}


def test_bytes_of_answers_are_held_back(edge: Envoy, shop: Server) -> None:
    shop.body = "x" * 96 * KIB
    try:
        assert len(edge.get("down.example").content) == 96 * KIB
        names = trailers(edge, "down.example")
    finally:
        shop.body = ""
    assert "x-shop-bandwidth-response-delay-ms" in names
    assert edge.stat("bandwidth_limit.http_bandwidth_limit.response_enforced") > 0


@pytest.fixture
def text(shop: Server) -> Any:
    shop.body, shop.type = TEXT, "text/plain"
    yield
    shop.body, shop.type = "", ""


def encoding(edge: Envoy, name: str, accepted: str) -> str | None:
    url = f"http://127.0.0.1:{edge.port}/"
    with httpx.stream("GET", url, headers={"Host": f"{name}.example", "accept-encoding": accepted}) as answer:
        found: str | None = answer.headers.get("content-encoding")
    return found


@pytest.mark.usefixtures("text")
def test_answers_are_compressed_for_those_who_accept_it(edge: Envoy) -> None:
    url = f"http://127.0.0.1:{edge.port}/"
    with httpx.stream("GET", url, headers={"Host": "gzip.example", "accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(packed).decode() == TEXT
    assert len(packed) < len(TEXT) // 10
    assert encoding(edge, "gzip", "identity") is None
    assert encoding(edge, "gzip", "br") is None
    assert encoding(edge, "plain", "gzip") is None


@pytest.mark.usefixtures("text")
def test_the_client_weighs_and_the_list_decides(edge: Envoy) -> None:
    assert encoding(edge, "all", "gzip, br, zstd") == "zstd"
    assert encoding(edge, "all", "gzip, br") == "gzip"
    assert encoding(edge, "all", "br, gzip") == "br"
    assert encoding(edge, "other", "gzip, br, zstd") == "br"
    assert encoding(edge, "other", "gzip, zstd") == "gzip"
    assert encoding(edge, "all", "gzip;q=1, zstd;q=0.5") == "gzip"


@pytest.mark.usefixtures("text")
def test_short_answers_stay_as_they_are(edge: Envoy, shop: Server) -> None:
    assert encoding(edge, "long", "gzip") is None
    shop.body = TEXT * 2
    assert encoding(edge, "long", "gzip") == "gzip"
