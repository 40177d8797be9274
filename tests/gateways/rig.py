"""Documents -> a real Envoy that serves them, with clients that can do TLS: what the tests of gateways run on.

In: YAML, in which `ADDR` is the prefix of addresses that belong to this test. Out: answers, handshakes, conditions.
"""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.documents import compiled, parse
from tests.e2e.running import Block
from tests.translate.live import Envoy, Server
from xds_server.compile import Compiled, Options
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Condition, Key


def secret(name: str, pair: tuple[str, str], namespace: str = "default") -> str:
    """A TLS Secret."""
    chain, key = (json.dumps(text) for text in pair)
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: v1\nkind: Secret\nmetadata: {meta}\nstringData: {{tls.crt: {chain}, tls.key: {key}}}\n---\n"


def authorities(name: str, pem: str, namespace: str = "default", kind: str = "ConfigMap") -> str:
    """A ConfigMap or a Secret with certificate authorities."""
    field_ = "data" if kind == "ConfigMap" else "stringData"
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {meta}\n{field_}: {{ca.crt: {json.dumps(pem)}}}\n---\n"


def service(name: str, address: str, port: int, *, app_protocol: str = "", namespace: str = "default") -> str:
    """A Service at one address."""
    said = f", appProtocol: {app_protocol}" if app_protocol else ""
    labels = f"labels: {{kubernetes.io/service-name: {name}}}"
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{ports: [{{name: web, port: 80{said}}}]}}\n---\n"
        f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        f"metadata: {{name: {name}, namespace: {namespace}, {labels}}}\n"
        f"addressType: IPv4\nports: [{{name: web, port: {port}}}]\nendpoints: [{{addresses: [{address}]}}]\n---\n"
    )


def route(name: str, backend: str, parent: str = "name: edge", hostnames: str = "", namespace: str = "default") -> str:
    """An HTTPRoute to port 80 of a Service."""
    hosts = f"  hostnames: [{hostnames}]\n" if hostnames else ""
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  parentRefs: [{{{parent}}}]\n{hosts}  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n---\n"
    )


@dataclass
class Rig:
    """One Envoy, and what it serves now."""

    envoy: Envoy
    block: Block
    result: Compiled = field(default_factory=Compiled)

    def serve(self, text: str, *, flawed: bool = False, options: Options | None = None) -> Compiled:
        """Compile and serve documents. `flawed`: they have mistakes on purpose."""
        text = text.replace("ADDR", self.block.prefix)
        self.result = compiled(text, options)
        _, problems = parse(text)
        assert flawed or not (*problems, *self.result.diagnostics), (problems, self.result.diagnostics)
        (gateway,) = self.result.gateways
        self.envoy.ports.clear()
        self.envoy.apply(gateway, expected=flawed)
        return self.result

    def server(self, name: str, tls: ssl.SSLContext | None = None) -> Server:
        """A server to forward to."""
        return self.envoy.server(name, tls)

    def ask(self, host: str, port: int = 10080, path: str = "/") -> httpx.Response:
        """A plain request."""
        url = f"http://{self.block.address(1)}:{port}{path}"
        return httpx.get(url, headers={"Host": host}, timeout=10)

    def connect(
        self, name: str | None, *, port: int = 10443, client: tuple[str, str] | None = None, alpn: str = "http/1.1"
    ) -> ssl.SSLSocket:
        """A TLS connection."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        if client is not None:
            load(context, client)
        raw = socket.create_connection((self.block.address(1), port), timeout=10)
        return context.wrap_socket(raw, server_hostname=name)

    def ask_tls(
        self, name: str, host: str = "", *, port: int = 10443, client: tuple[str, str] | None = None
    ) -> tuple[int, str]:
        """A request over TLS with SNI `name`: the status, and who answered (empty: the gateway)."""
        with self.connect(name, port=port, client=client) as connection:
            return ask_on(connection, host or name)

    def status(self, kind: str, name: str, namespace: str = "default", group: str = GATEWAY_GROUP) -> Status:
        """The status of an object."""
        return self.result.statuses[Key(group, kind, namespace, name)]


def load(context: ssl.SSLContext, pair: tuple[str, str]) -> None:
    """Give a context a certificate and its key."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_text("".join(pair), encoding="utf-8")
        context.load_cert_chain(path)


def ask_on(connection: ssl.SSLSocket, host: str) -> tuple[int, str]:
    """A request on a connection that stays open."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < length:
        body += _more(connection)
    return int(lines[0].split()[1]), str(json.loads(body)["server"]) if body.startswith(b"{") else ""


def _more(connection: ssl.SSLSocket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionResetError("closed without an answer")
    return piece


def condition(conditions: tuple[Condition, ...], type_: str) -> tuple[bool, str]:
    """Status and reason of the condition of a type."""
    return next((one.status, one.reason) for one in conditions if one.type == type_)
