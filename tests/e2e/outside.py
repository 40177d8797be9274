"""Services on the internet, as real servers: with plain HTTP, with TLS, and one that greets before anybody speaks."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.e2e.certificates import Authority


class Outside:
    """A server that answers with what it saw, and remembers it. `POST /token` hands out tokens (OAuth2)."""

    def __init__(self, name: str, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self.connections = 0
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 64 * 1024

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                told: dict[str, Any] = {
                    "server": outside.name,
                    "method": self.command,
                    "path": self.path,
                    "headers": headers,
                }
                told["body"] = body.decode()
                outside.seen.append(told)
                if self.path == "/token":
                    told = {"access_token": f"token-of-{outside.asked(body)}", "expires_in": 3600}
                text = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def get_request(self) -> tuple[Any, Any]:
                connection, client = super().get_request()
                outside.connections += 1
                if tls is not None:
                    # The handshake comes with the first read, on the thread of the connection.
                    connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, client

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A handshake that fails is a test's business."""

        self._server = Server(address, Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def asked(body: bytes) -> str:
        """Who asked for a token, with which grant, for what."""
        form = parse_qs(body.decode())
        return "-".join(form[name][0] for name in ("client_id", "grant_type", "scope"))

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class Greeter:
    """A server of bytes: it greets first, then sends back what it gets, in capitals."""

    def __init__(self, greeting: bytes, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with tls.wrap_socket(self.request, server_side=True) if tls else self.request as connection:
                    connection.sendall(greeting)
                    while data := connection.recv(1024):
                        connection.sendall(data.upper())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Connections end as they like."""

        self._server = Server(address, Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def server_side(authority: Authority, folder: Path, *names: str) -> ssl.SSLContext:
    """TLS of a server that shows a certificate for these names."""
    certificate, key = authority.issue(*names)
    for name, text in (("crt", certificate), ("key", key)):
        (folder / f"{names[0]}.{name}").write_text(text, encoding="utf-8")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{names[0]}.crt", folder / f"{names[0]}.key")
    return context
