"""A provider that is named by its issuer alone: what is closed until it is known, and what outlives it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.e2e.running import Cellway

POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: inside}
spec:
  parentRefs: [{name: edge}]
  hostnames: [inside.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: open}
spec:
  parentRefs: [{name: edge}]
  hostnames: [open.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {client-secret: given-by-the-provider}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: people}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: inside}]
  oidc:
    provider: {issuer: "http://ADDR.12:7000/realm"}
    clientID: shop
    clientSecret: {name: client}
"""


@contextmanager
def issuer(address: str, **said: str) -> Iterator[str]:
    """An issuer that describes itself, with changes."""
    base = f"http://{address}:7000/realm"
    description = {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "end_session_endpoint": f"{base}/end",
    } | said

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/realm/.well-known/openid-configuration"
            body = json.dumps(description).encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer((address, 7000), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield base
    server.shutdown()
    server.server_close()


def ask(cellway: Cellway, host: str) -> httpx.Response:
    return httpx.get(f"http://{cellway.block.address(1)}:8080/", headers={"host": host}, timeout=10)


def until(cellway: Cellway, status: int, seconds: float = 30) -> httpx.Response:
    """The first answer with this status; routes that are covered by the policy."""
    deadline = time.monotonic() + seconds
    while (answer := ask(cellway, "inside.example")).status_code != status:
        assert time.monotonic() < deadline, f"{answer.status_code}\n{cellway.log()}"
        time.sleep(0.05)
    return answer


def test_what_a_provider_covers_is_closed_until_it_is_known(cellway: Cellway) -> None:
    cellway.write("all.yaml", POLICIES)
    cellway.upstream(11)
    provider = cellway.block.address(12)
    cellway.start()
    assert ask(cellway, "open.example").status_code == 200
    assert ask(cellway, "inside.example").status_code == 500
    with issuer(provider, issuer="http://somebody-else.example"):
        deadline = time.monotonic() + 60
        while not any("another issuer" in one["message"] for one in cellway.api("diagnostics")["items"]):
            assert time.monotonic() < deadline, cellway.log()
            time.sleep(0.05)
        assert ask(cellway, "inside.example").status_code == 500
    with issuer(provider) as base:
        assert until(cellway, 302).headers["location"].startswith(f"{base}/authorize?")
    cellway.stop()
    cellway.start()  # the provider is down, and was known before
    assert ask(cellway, "inside.example").status_code == 302
    assert ask(cellway, "open.example").status_code == 200
