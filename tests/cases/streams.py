"""Servers and a client of streams for behaviour cases: TCP, TLS and UDP.

In: addresses, and requests `TCP tcp://-:PORT #text`, `TLS tls://NAME:PORT #text` (NAME is asked for by SNI, `-` is
none) and `UDP udp://-:PORT #text` (`second` in place of `-`: at the second address). Out: answers. A server answers a
line, or a datagram, with JSON that names it and says what it got. A connection that is closed, or a datagram that nobody
answers, is answered by `none`. The header `certificate` of an answer is the name in the certificate that the client saw.
"""

from __future__ import annotations

import functools
import json
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.cases.answers import Answer
from tests.cases.reading import Request
from tests.e2e.certificates import self_signed

METHODS = ("TCP", "TLS", "UDP")
_PATIENCE = 10.0
_SILENCE = 0.3
"""How long a datagram that is to get no answer is waited for. Only what is expected to be lost waits so long."""


@functools.cache
def certificate_of(name: str) -> tuple[str, str]:
    """Certificate and key of a server."""
    return self_signed(f"{name}.example", "*.example")


class StreamEcho:
    """A server of one name on one address: TCP and UDP at port 3000, TLS at port 3443."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name, self.seen = name, list[dict[str, Any]]()
        chain, key = folder / f"{name}.crt", folder / f"{name}.key"
        for path, text in zip((chain, key), certificate_of(name), strict=True):
            path.write_text(text, encoding="utf-8")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(chain, key)
        echo = self

        class OverTcp(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    while line := self.rfile.readline():
                        self.wfile.write(echo.answer(line) + b"\n")

        class OverTls(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), echo._tls.wrap_socket(self.request, server_side=True) as wrapped:
                    while data := wrapped.recv(4096):
                        wrapped.sendall(echo.answer(data) + b"\n")

        class OverUdp(socketserver.DatagramRequestHandler):
            def handle(self) -> None:
                self.wfile.write(echo.answer(self.rfile.read()) + b"\n")

        self._servers = (
            socketserver.ThreadingTCPServer((address, 3000), OverTcp),
            socketserver.ThreadingTCPServer((address, 3443), OverTls),
            socketserver.ThreadingUDPServer((address, 3000), OverUdp),
        )
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, got: bytes) -> bytes:
        """What the server says."""
        return json.dumps({"server": self.name, "got": got.decode().rstrip("\n")}).encode()

    def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


def ask(request: Request, address: str, *, silent: bool) -> Answer:
    """Send one request over a fresh socket. `silent`: no answer is expected, so a datagram is not waited for long."""
    place = (address, request.port)
    text = request.body.encode() + b"\n"
    if request.method == "UDP":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, suppress(OSError):
            datagrams.settimeout(_SILENCE if silent else _PATIENCE)
            datagrams.connect(place)
            datagrams.send(text)
            return _told(datagrams.recv(65536), {})
        return Answer()
    with suppress(OSError), socket.create_connection(place, _PATIENCE) as plain:
        if request.method == "TCP":
            return _told(_talk(plain, text), {})
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain, server_hostname=None if request.host == "-" else request.host) as wrapped:
            shown = wrapped.getpeercert(binary_form=True)
            assert shown is not None
            return _told(_talk(wrapped, text), {"certificate": _name_in(shown)})
    return Answer()


def _talk(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    with connection.makefile("rb") as lines:
        return lines.readline()


def _told(line: bytes, headers: dict[str, str]) -> Answer:
    if not line:
        return Answer(headers=headers)
    told = json.loads(line)
    return Answer(headers=headers, body=str(told["got"]), upstream=str(told["server"]))


def _name_in(certificate: bytes) -> str:
    subject = x509.load_der_x509_certificate(certificate).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
