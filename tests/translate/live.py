"""A real Envoy that gets its configuration from translated messages over ADS, and servers for it to forward to.

In: graphs. Out: answers of Envoy. The ADS server here is as small as can be and shares no code with Cellway's: it
answers every subscription with the newest messages. A message that Envoy refuses fails the test with Envoy's words.
"""

from __future__ import annotations

import json
import os
import queue
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from xds_server.features import FEATURES
from xds_server.features.contract import pack
from xds_server.graph import Gateway
from xds_server.rules.messages import Rules
from xds_server.supervise.bootstrap import Address, Bootstrap
from xds_server.translate.gateway import translate_gateway
from xds_server.translate.message import Translated

ROOT = Path(__file__).resolve().parents[2]
_PREFIX = "type.googleapis.com/"
_TYPES = (
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.config.route.v3.RouteConfiguration",
)
_WILDCARD = (
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.ScopedRouteConfiguration",
)


def envoy_binary() -> Path:
    """The Envoy to test with; without one the test is skipped."""
    found = Path(os.environ.get("CELLWAY_ENVOY", ROOT / ".envoy" / "bin" / "envoy"))
    if not found.is_file():
        pytest.skip("there is no Envoy: set CELLWAY_ENVOY or run `make setup`")
    return found


class Server:
    """An HTTP server that tells what it was asked, or says `body` of a `type`.

    `/status/503` answers so, `/sleep/2` takes two seconds, `/hold/1` until `gate` is set. Paths in `broken`
    are answered with 500.
    """

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.seen: list[str] = []
        self.body: str | bytes = ""
        self.type = ""
        self.broken: set[str] = set()
        self.delay = 0.0
        self.gate = threading.Event()
        self.headers: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 64 * 1024  # head and body in one packet

            def answer(self) -> None:
                server.seen.append(self.path)
                if self.headers.get("upgrade"):
                    self._echo()
                    return
                sent = self._read()
                word, _, number = self.path.strip("/").partition("?")[0].rpartition("/")
                if word.endswith("hold"):
                    server.gate.wait(60)
                if server.delay:
                    time.sleep(server.delay)
                if word.endswith("sleep"):
                    time.sleep(float(number))
                status = int(number) if word.endswith("status") else 500 if self.path in server.broken else 200
                told = {"server": server.name, "path": self.path, "headers": dict(self.headers.items()), "body": sent}
                said = server.body or json.dumps(told)
                body = said if isinstance(said, bytes) else said.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-from-backend", "1")
                for header, value in server.headers.items():
                    self.send_header(header, value)
                if server.type:
                    self.send_header("content-type", server.type)
                self.end_headers()
                self.wfile.write(body)

            def _read(self) -> str:
                """The body of a request, also one that comes in chunks."""
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0))).decode("latin-1")
                found = b""
                while length := int(self.rfile.readline(), 16):
                    found += self.rfile.read(length)
                    self.rfile.readline()
                self.rfile.readline()
                return found.decode("latin-1")

            def _echo(self) -> None:
                """Switch protocols, and send back whatever comes until the client ends."""
                self.wfile.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                )
                self.wfile.flush()
                while data := self.rfile.read1(1024):
                    self.wfile.write(data)
                    self.wfile.flush()
                self.close_connection = True

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", int(self._http.server_address[1])

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()


class Ads:
    """State-of-the-world ADS: whatever is asked is answered from the newest messages, and again after `publish`."""

    def __init__(self) -> None:
        self._messages: dict[str, dict[str, Translated]] = {}
        self._version = 0
        self._streams: list[queue.Queue[DiscoveryRequest | None]] = []
        self.refused: list[str] = []
        self.acknowledged: dict[str, str] = {}
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=DiscoveryResponse.SerializeToString,
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        handlers = grpc.method_handlers_generic_handler(service, {"StreamAggregatedResources": handler})
        self._grpc.add_generic_rpc_handlers((handlers,))
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    def publish(self, messages: Iterable[Translated]) -> None:
        """Serve these from now on."""
        fresh: dict[str, dict[str, Translated]] = {name: {} for name in _TYPES}
        for one in messages:
            fresh[type(one.message).DESCRIPTOR.full_name][one.name] = one
        self._messages = fresh
        self._version += 1
        for stream in self._streams:
            stream.put(None)

    def _stream(self, requests: Iterator[DiscoveryRequest], context: grpc.ServicerContext) -> Iterator[Any]:
        inbox: queue.Queue[DiscoveryRequest | None] = queue.Queue()
        self._streams.append(inbox)

        def read() -> None:
            try:
                for request in requests:
                    inbox.put(request)
            except grpc.RpcError:
                return

        threading.Thread(target=read, daemon=True).start()
        names: dict[str, tuple[str, ...]] = {}
        sent: dict[str, tuple[int, tuple[str, ...]]] = {}
        while context.is_active():
            try:
                request = inbox.get(timeout=0.2)
            except queue.Empty:
                continue
            if request is not None:
                kind = request.type_url.removeprefix(_PREFIX)
                names[kind] = tuple(request.resource_names)
                self._note(kind, request)
            for each in [kind for kind in _TYPES if kind in names]:
                state = (self._version, names[each])
                if sent.get(each) != state:
                    sent[each] = state
                    yield self._response(each, names[each])

    def _note(self, kind: str, request: DiscoveryRequest) -> None:
        if request.HasField("error_detail"):
            self.refused.append(request.error_detail.message)
        elif request.version_info:
            self.acknowledged[kind] = request.version_info

    def _response(self, kind: str, names: tuple[str, ...]) -> DiscoveryResponse:
        known = self._messages.get(kind, {})
        chosen = known.values() if kind in _WILDCARD else [known[name] for name in names if name in known]
        return DiscoveryResponse(
            version_info=str(self._version),
            nonce=f"{self._version}-{time.monotonic_ns()}",
            type_url=_PREFIX + kind,
            resources=[pack(one.whole) for one in chosen],
        )

    def close(self) -> None:
        """Stop."""
        self._grpc.stop(None).wait(5)


BOOTSTRAP = """
node: {id: test, cluster: default/edge}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: ads}}]}
  cds_config: {ads: {}, resource_api_version: V3}
  lds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: ads
    load_assignment:
      cluster_name: ads
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


_RESOLVER = """
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{socket_address: {address: 127.0.0.1, port_value: PORT, protocol: UDP}}]
    dns_resolver_options: {no_default_search_domain: true}
"""


class Envoy:
    """A running Envoy with one worker thread (so that counts are exact). `zone` is where it is.

    With `names`, a port of 127.0.0.1, it asks the DNS server there.
    """

    def __init__(self, folder: Path, zone: str = "", names: int = 0, template: str = "") -> None:
        """`template`: a whole bootstrap, in which PORT stands for that of the ADS server."""
        self.ads = Ads()
        self.servers: list[Server] = []
        bootstrap, self._admin, self._log = folder / "envoy.yaml", folder / "admin", folder / "envoy.log"
        text = template.replace("PORT", str(self.ads.port)) or _bootstrap(self.ads.port, zone, names)
        bootstrap.write_text(text, encoding="utf-8")
        command = [str(envoy_binary()), "-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart"]
        command += ["--admin-address-path", str(self._admin), "-l", "warn", "--file-flush-interval-msec", "50"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={"CANARY": "from-the-environment"})
        self.ports: dict[str, int] = {}
        self._client = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))

    def server(self, name: str = "web", tls: ssl.SSLContext | None = None) -> Server:
        """A server that ends with this Envoy."""
        self.servers.append(Server(name, tls))
        return self.servers[-1]

    def apply(self, gateway: Gateway, *, expected: bool = False) -> None:
        """Translate and publish a gateway, and return when Envoy serves all of it. `expected`: problems may be found."""
        messages, problems = translate_gateway(gateway, FEATURES, Rules().check)
        assert not problems or expected, problems
        self.ads.publish(messages)
        wanted = {kind: str(self.ads._version) for kind in _TYPES if kind in {_kind(one) for one in messages}}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert not self.ads.refused, self.ads.refused
            assert self._process.poll() is None, self.log()
            if all(self.ads.acknowledged.get(kind) == version for kind, version in wanted.items()):
                self._read_ports(gateway)
                if len(self.ports) == len(gateway.ports):
                    return
            time.sleep(0.02)
        raise AssertionError(f"Envoy did not take the configuration: {self.ads.acknowledged}\n{self.log()}")

    def _read_ports(self, gateway: Gateway) -> None:
        known = {port.name for port in gateway.ports}
        for one in self.admin("listeners?format=json").get("listener_statuses", ()):
            if one["name"] in known:
                self.ports[one["name"]] = one["local_address"]["socket_address"]["port_value"]

    def admin(self, path: str) -> Any:
        """A GET on the admin interface, as JSON."""
        address = self._admin.read_text(encoding="utf-8") if self._admin.exists() else ""
        return httpx.get(f"http://{address}/{path}", timeout=30).json() if address else {}

    def stat(self, name: str) -> int:
        """One counter or gauge."""
        found = self.admin(f"stats?format=json&filter=^{name}$")["stats"]
        return sum(int(one["value"]) for one in found if "value" in one)

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return next(iter(self.ports.values()))

    def get(self, host: str, path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
        """A request on a fresh connection. `_` in names of headers stands for `-`."""
        return self.send(host, path, method, b"", **headers)

    def send(self, host: str, path: str, method: str, body: bytes, **headers: str) -> httpx.Response:
        """A request with a body."""
        written = {"Host": host, **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self._client.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=written, content=body or None
        )

    def log(self) -> str:
        """What Envoy printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-16000:]

    def close(self) -> None:
        """Stop Envoy and everything beside it."""
        self._client.close()
        self._process.kill()
        self._process.wait(10)
        self.ads.close()
        for server in self.servers:
            server.close()


def _bootstrap(port: int, zone: str, names: int) -> str:
    """The bootstrap; what tells an Envoy its zone is that of the product."""
    own = yaml.safe_load(BOOTSTRAP.replace("PORT", str(port)))
    product = yaml.safe_load(Bootstrap("default/edge", "test", Address("127.0.0.1", port), zone=zone).text())
    if zone:
        own["node"]["locality"] = product["node"]["locality"]
        own["cluster_manager"] = product["cluster_manager"]
        own["static_resources"]["clusters"] += product["static_resources"]["clusters"][1:]
    if names:
        own |= yaml.safe_load(_RESOLVER.replace("PORT", str(names)))
    return json.dumps(own)


def _kind(one: Translated) -> str:
    return str(type(one.message).DESCRIPTOR.full_name)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """One Envoy for a module."""
    running = Envoy(tmp_path_factory.mktemp("envoy"))
    yield running
    running.close()
