"""Clients of west gateways that no control plane looks after: TLS clients, and Envoys that stand for an east gateway.

Certificates are issued by the authority that the server under test made in its state folder, or by a stranger's.
"""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.documents import compiled
from tests.e2e.running import ENVOY, Cellway
from xds_server.automation.authority import Issuer, issue, make_root, read_issuer
from xds_server.cells.authority import Authority
from xds_server.compile import Options
from xds_server.observe.resources_view import static_bootstrap

DOMAIN = "dev.acme.internal"
HOUR = 3600.0
LOG = "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"


@dataclass(frozen=True)
class HandMade:
    """An Envoy of our own: its URL, and the file with a line for each request."""

    url: str
    accesses: Path

    def ask(self, host: str) -> httpx.Response:
        """One request."""
        return httpx.get(self.url, headers={"Host": host}, timeout=10)

    def logged(self, timeout: float = 10) -> str:
        """What it logged of its first request."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.accesses.exists() and (text := self.accesses.read_text(encoding="utf-8")):
                return text
            time.sleep(0.02)
        raise AssertionError("nothing is logged")


def issuer_of(cellway: Cellway, domain: str = DOMAIN) -> Issuer:
    """The authority in the state folder."""
    folder = cellway.state / "authorities"
    return read_issuer((folder / f"{domain}.crt").read_bytes(), (folder / f"{domain}.key").read_bytes(), time.time())


def stranger(domain: str = DOMAIN) -> Issuer:
    """An authority that nobody knows."""
    return read_issuer(*make_root(domain, time.time()), time.time())


def gateway(cell: str, direction: str = "east", domain: str = DOMAIN) -> str:
    """The name of a gateway of a cell."""
    return f"spiffe://{domain}/cell/{cell}/gw/{direction}"


def context(folder: Path, trusted: str, issuer: Issuer | None, name: str = "") -> ssl.SSLContext:
    """TLS of a client that trusts an authority and shows a certificate for `name`; without an issuer it shows none."""
    made = ssl.create_default_context(cadata=trusted)
    made.check_hostname = False
    if issuer is not None:
        leaf = issue(issuer, name, time.time(), HOUR)
        path = folder / f"{name.replace('/', '_')}.pem"
        path.write_bytes(leaf.chain + leaf.key.value)
        made.load_cert_chain(path)
    return made


def ask(
    address: tuple[str, int], tls: ssl.SSLContext, host: str, method: str = "GET", **headers: str
) -> httpx.Response:
    """One request over a connection of its own."""
    with httpx.Client(verify=tls) as client:
        where = f"https://{address[0]}:{address[1]}/"
        return client.request(method, where, headers={"Host": host, **headers}, timeout=10)


@contextmanager
def hand_made_west_of_placeholders(cellway: Cellway, text: str, cell: str) -> Iterator[tuple[str, int]]:
    """Where an Envoy is the west gateway of a cell, with what `render` shows in place of certificates."""
    found = compiled(text.replace("ADDR", cellway.block.prefix))
    west = next(one for one in found.gateways if one.key.name == f"{cell}-west")
    with _envoy(cellway, static_bootstrap(found.snapshots[west.name]), west.ports[0].addresses[0], f"{cell}-west"):
        yield west.ports[0].addresses[0], west.ports[0].port


@contextmanager
def hand_made_east(cellway: Cellway, text: str, cell: str, issuer: Issuer) -> Iterator[HandMade]:
    """An Envoy that is the east gateway of a cell as `text` has it, with certificates of `issuer`."""
    names = [gateway(cell, one) for one in ("east", "west")]
    leaves = {name: issue(issuer, name, time.time(), HOUR) for name in names}
    authority = Authority(issuer.trusted, leaves)
    found = compiled(text.replace("ADDR", cellway.block.prefix), Options(authorities={DOMAIN: authority}))
    east = next(one for one in found.gateways if one.key.name == f"{cell}-east")
    port = east.ports[0]
    bootstrap = static_bootstrap(found.snapshots[east.name])
    accesses = cellway.folder.parent / f"{cell}-east-{time.monotonic_ns()}.accesses"
    _log_to(bootstrap, accesses)
    with _envoy(cellway, bootstrap, port.addresses[0], f"{cell}-east"):
        yield HandMade(f"http://{port.addresses[0]}:{port.port}/", accesses)


@contextmanager
def _envoy(cellway: Cellway, bootstrap: dict[str, Any], address: str, name: str) -> Iterator[None]:
    bootstrap["admin"] = {"address": {"socket_address": {"address": address, "port_value": 19000}}}
    file = cellway.folder.parent / f"{name}.yaml"
    file.write_text(yaml.safe_dump(bootstrap), encoding="utf-8")
    with (cellway.folder.parent / f"{name}.log").open("wb") as log:
        command = [str(ENVOY), "-c", str(file), "--use-dynamic-base-id", "--log-level", "warning"]
        command += ["--file-flush-interval-msec", "20"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until_ready(f"http://{address}:19000/ready")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _log_to(value: Any, file: Path) -> None:
    """Log the requests of every connection manager in a configuration."""
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        _log_to(item, file)
    if isinstance(value, dict) and "http_filters" in value:
        kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        form = {"text_format_source": {"inline_string": LOG}}
        value["access_log"] = [{"name": "log", "typed_config": {"@type": kind, "path": str(file), "log_format": form}}]


def until_ready(url: str, timeout: float = 20) -> None:
    """Return when a URL answers 200."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} does not answer 200")
