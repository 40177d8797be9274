"""A cell that depends on services of every sort, on one block of addresses: its south gateway is on .4."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.certificates import Authority
from tests.e2e.outside import Greeter, Outside, server_side
from tests.e2e.running import Cellway, ask_envoy

SOUTH, HTTP, TLS = 4, 15002, 15443
CELL = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec: {stages: [{name: dev, trustDomain: dev.acme.internal}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: standard}
spec: {defaults: {south: {traffic: {timeout: {http: {requestTimeout: 5s}}, retry: {numRetries: 1}}}}}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: orders}
spec:
  class: standard
  components: [{name: worker}]
  dependencies:
  - {name: cards, external: cards}
  - {name: mail, external: mail}
  - {name: basic, external: basic}
  - {name: tokens, external: tokens}
  - {name: open, external: open}
  - {name: many, external: many}
  - {name: vault, external: vault}
  - {name: db, external: db}
  - {name: queue, external: queue}
  - {name: wrong, external: wrong}
  - {name: missing, external: missing}
"""
EXTERNALS = """
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: cards}
spec:
  hosts: [api.cards.example]
  ports: [{port: 8443, protocol: HTTPS}]
  http: {rules: [{methods: [POST], pathPrefix: /v1/charges}, {methods: [GET], pathPrefix: /v1/charges}]}
  credential: {header: Authorization, secretRef: {name: card-key}}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: mail}
spec:
  hosts: [api.mail.example]
  ports: [{port: 8443, protocol: HTTPS}]
  credential: {header: X-Api-Key, secretRef: {name: mail-key}}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: basic}
spec:
  hosts: [api.basic.example]
  ports: [{port: 8080, protocol: HTTP}]
  credential: {type: Basic, secretRef: {name: login}}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: tokens}
spec:
  hosts: [api.tokens.example]
  ports: [{port: 8080, protocol: HTTP}]
  credential:
    type: OAuth2
    secretRef: {name: client}
    oauth2: {tokenEndpoint: "http://ADDR.140:8080/token", clientID: shop, scopes: [read]}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: open}
spec:
  hosts: [api.open.example]
  ports: [{port: 8080, protocol: HTTP}]
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: many}
spec:
  hosts: [api.many.example, other.many.example]
  ports:
  - {port: 8080, protocol: HTTP}
  - {port: 8443, protocol: HTTPS}
  - {port: 9443, protocol: TLS, mode: Passthrough}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: vault}
spec:
  hosts: [vault.example]
  ports: [{port: 8443, protocol: HTTPS, mode: Passthrough}]
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: db}
spec:
  hosts: [db.example]
  ports: [{port: 5432, protocol: TCP}]
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: queue}
spec:
  hosts: [queue.example]
  ports: [{port: 5671, protocol: TLS}]
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: wrong}
spec:
  hosts: [wrong.example]
  ports: [{port: 9444, protocol: HTTPS}]
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: missing}
spec:
  hosts: [missing.example]
  ports: [{port: 8080, protocol: HTTP}]
  credential: {secretRef: {name: nowhere}}
"""
BINDING = """
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: orders-dev}
spec:
  cell: orders
  stage: dev
  address: ADDR.0
  overrides:
    externals:
      cards: {endpoints: [{address: ADDR.141}], caCertificateRef: authority, credential: {secretRef: {name: card-key-dev}}}
      mail: {endpoints: [{address: ADDR.141}], caCertificateRef: authority}
      basic: {endpoints: [{address: ADDR.140}]}
      tokens: {endpoints: [{address: ADDR.140}]}
      open: {endpoints: [{address: ADDR.140}]}
      many: {endpoints: [{address: ADDR.142}], caCertificateRef: authority}
      vault: {endpoints: [{address: ADDR.141}]}
      db: {endpoints: [{address: ADDR.143}], localPorts: [{port: 5432, localPort: 6543}]}
      queue: {endpoints: [{address: ADDR.143}], caCertificateRef: authority}
      wrong: {endpoints: [{address: ADDR.141}], caCertificateRef: authority}
      missing: {endpoints: [{address: ADDR.140}]}
"""
SECRETS = {
    "card-key": {"credential": "Bearer xyzzy-shared"},
    "card-key-dev": {"credential": "Bearer xyzzy-dev"},
    "mail-key": {"credential": "xyzzy-mail"},
    "login": {"username": "shop", "password": "xyzzy-password"},
    "client": {"client-secret": "xyzzy-client"},
}


def secret(name: str, **values: str) -> str:
    """A Secret of the cell."""
    head = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: orders}}\n"
    return f"{head}stringData: {json.dumps({key.replace('_', '-'): value for key, value in values.items()})}\n"


class Internet:
    """All services of the cell. `cards`, `mail` and `vault` are one server with TLS, as behind one address they often are."""

    def __init__(self, cellway: Cellway, folder: Path) -> None:
        self.authority = Authority()
        at = cellway.block.address

        def tls(*names: str) -> ssl.SSLContext:
            return server_side(self.authority, folder, *names)

        names = ("api.cards.example", "api.mail.example", "vault.example")
        self.plain = Outside("plain", (at(140), 8080))
        self.secure = Outside("secure", (at(141), 8443), tls(*names))
        self.impostor = Outside("impostor", (at(141), 9444), tls("right.example"))
        both = tls("api.many.example", "other.many.example")
        self.many = Outside("many-plain", (at(142), 8080))
        self.many_secure = Outside("many-secure", (at(142), 8443), both)
        self.many_tunnel = Outside("many-tunnel", (at(142), 9443), both)
        self.db = Greeter(b"database ready\n", (at(143), 5432))
        self.queue = Greeter(b"queue ready\n", (at(143), 5671), tls("queue.example"))
        self._all = (self.plain, self.secure, self.impostor, self.many, self.many_secure, self.many_tunnel)

    @property
    def requests(self) -> int:
        """How many requests all services together have seen."""
        return sum(len(one.seen) for one in self._all)

    def close(self) -> None:
        """Stop."""
        for one in (*self._all, self.db, self.queue):
            one.close()


def write(cellway: Cellway, internet: Internet) -> None:
    """All files."""
    cellway.write("cell.yaml", CELL)
    cellway.write("externals.yaml", EXTERNALS)
    cellway.write("binding.yaml", BINDING)
    for name, values in SECRETS.items():
        cellway.write(f"secrets/{name}.yaml", secret(name, **values))
    pem = json.dumps({"ca.crt": internet.authority.certificate})
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: authority, namespace: orders}\n"
    cellway.write("authority.yaml", f"{head}data: {pem}\n")


def ask(cellway: Cellway, host: str, path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
    """A request to the south gateway. `_` in names of headers stands for `-`."""
    url = f"http://{cellway.block.address(SOUTH)}:{HTTP}{path}"
    written = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.request(method, url, headers=written, timeout=10)


def said(cellway: Cellway, host: str, path: str = "/", method: str = "GET", **headers: str) -> dict[str, Any]:
    """What the service saw of a request: its headers, and who it is."""
    answer = ask(cellway, host, path, method, **headers)
    assert answer.status_code == 200, (answer.status_code, answer.text)
    told: dict[str, Any] = answer.json()
    return told


def stat(cellway: Cellway, name: str) -> int:
    """The counters of the south gateway's Envoy whose names fit an expression."""
    admin = next(one["admin"] for one in cellway.api("proxies")["items"] if one["gateway"].endswith("/south"))
    found = ask_envoy(admin, "/stats?format=json").json()["stats"]
    return sum(int(one["value"]) for one in found if re.fullmatch(name, one.get("name", "")))


def raw(cellway: Cellway, request: str, port: int = HTTP) -> bytes:
    """What comes back first when these bytes are sent to the south gateway."""
    with socket.create_connection((cellway.block.address(SOUTH), port), timeout=10) as connection:
        connection.sendall(request.encode())
        return connection.recv(4096)


@contextlib.contextmanager
def tunnel(cellway: Cellway, target: str) -> Iterator[socket.socket]:
    """A tunnel that the gateway has agreed to."""
    with socket.create_connection((cellway.block.address(SOUTH), HTTP), timeout=10) as connection:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):  # one by one: what follows is the service's
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        yield connection


def over_tls(connection: socket.socket, internet: Internet, name: str | None) -> dict[str, Any]:
    """A request of the component's own TLS over a connection, and what the service saw."""
    context = ssl.create_default_context(cadata=internet.authority.certificate)
    if name is None:
        context.check_hostname = False
    with context.wrap_socket(connection, server_hostname=name) as secure:
        secure.sendall(f"GET /inside HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := secure.recv(4096):
            answer += data
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found
