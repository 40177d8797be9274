"""Twenty cells, each with a certificate of its own: who asks for what with which, over every service of the server."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx

from bench.soak.mix import CERTIFICATE
from bench.soak.rig import Row, rig
from tests.e2e.running import Cellway
from tests.protocol.authority import Authority, Issued
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
)
from xds_server.envoy_api.envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest
from xds_server.serve.services import LOADS, SERVICES
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

_CELLS, _LOOSE = 20, 30
_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PATIENCE = 0.5
_FOREIGN = re.compile(rb"cell-(\d\d)")
_WORLD = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec:
  logicalDomain: cell.internal
  stages: [{name: dev, trustDomain: dev.acme.internal}]
"""
_CELL = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: cell-NUMBER}
spec:
  components:
  - name: api
    endpoints: [{name: http, protocol: HTTP, port: 3000, visibility: [public]}]
  gateways: {north: {hostnames: [cell-NUMBER.example], tls: {certificateRef: cert}}}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: cell-NUMBER-dev}
spec: {cell: cell-NUMBER, stage: dev, address: ADDR.BASE, endpoints: {api.http: [{address: ADDR.240}]}}
---"""
_NOBODYS = """
apiVersion: v1
kind: Secret
metadata: {name: loose-NUMBER}
stringData: {value: canary-NUMBER-of-nobody}
"""


def isolation(_seconds: float) -> Row:
    """G16: every identity asks every service for every cell; and all outputs are searched for what was planted."""
    with rig(prepared=False) as cellway:
        pki = Authority(cellway.folder.with_name("pki"))
        server = pki.issue("localhost")
        names = ("--xds-cert", server.certificate, "--xds-key", server.key, "--xds-ca", pki.certificate)
        identities = cellway.folder.with_name("identities.yaml")
        identities.write_text("trustDomains: {dev.acme.internal: acme/dev}\n", encoding="utf-8")
        cellway.arguments = ("--no-envoy", *map(str, names), "--xds-identities", str(identities))
        planted = _write(cellway)
        cellway.start()
        began = time.monotonic()
        found = asyncio.run(_Matrix(cellway, pki, planted).run())
        shown = sum(canary in text for canary in planted.values() for text in _outputs(cellway))
    measured = (
        f"{found['streams']:,} streams in {time.monotonic() - began:.0f} s: {found['own']:,} answered for their own cell, "
        f"{found['refused']:,} refused, {found['foreign']} with a byte of another; {len(planted)} planted secrets, "
        f"{shown + found['leaked']} times seen where they do not belong"
    )
    whole = found["own"] and found["refused"] == found["streams"] * (_CELLS - 1) // _CELLS
    return Row("G16 isolation", measured, bool(whole) and not found["foreign"] and not found["leaked"] and not shown)


def _write(cellway: Cellway) -> dict[str, bytes]:
    """The files; what is planted in them, by the cell that it belongs to."""
    cellway.write("organization.yaml", _WORLD)
    signer, planted = Authority(cellway.folder.with_name("signer")), {}
    for number in range(_CELLS):
        name = f"cell-{number:02}"
        issued = signer.issue(f"{name}.example")
        key = issued.key.read_text(encoding="ascii")
        planted[name] = key.splitlines()[1].encode()
        secret = CERTIFICATE.replace("{name: cert}", f"{{name: cert, namespace: {name}}}")
        for word, text in (("CHAIN", issued.certificate.read_text(encoding="ascii")), ("KEY", key)):
            secret = secret.replace(word, "\n".join(f"    {line}" for line in text.splitlines()))
        cell = _CELL.replace("NUMBER", f"{number:02}").replace("BASE", str(8 * number))
        cellway.write(f"{name}.yaml", cell + secret)
    for number in range(_LOOSE):
        cellway.write(f"loose-{number}.yaml", _NOBODYS.replace("NUMBER", str(number)))
        planted[f"loose-{number}"] = f"canary-{number}-of-nobody".encode()
    return planted


class _Matrix:
    """Who asks for what."""

    def __init__(self, cellway: Cellway, pki: Authority, planted: dict[str, bytes]) -> None:
        self.target, self.pki, self.planted = f"{cellway.block.address(250)}:18000", pki, planted
        self.counted: Counter[str] = Counter()

    async def run(self) -> Counter[str]:
        """All of it, one identity after the other."""
        for number in range(_CELLS):
            name = f"cell-{number:02}"
            issued = self.pki.issue(name, f"spiffe://dev.acme.internal/cell/{name}/gw/north")
            options = (("grpc.ssl_target_name_override", "localhost"),)
            async with grpc.aio.secure_channel(self.target, self._credentials(issued), options) as channel:
                for other in range(_CELLS):
                    asked = f"cell-{other:02}"
                    await asyncio.gather(*(self._ask(channel, name, asked, *one) for one in _methods()))
        return self.counted

    def _credentials(self, issued: Issued) -> grpc.ChannelCredentials:
        files = (self.pki.certificate, issued.key, issued.certificate)
        return grpc.ssl_channel_credentials(*(path.read_bytes() for path in files))

    async def _ask(self, channel: grpc.aio.Channel, own: str, asked: str, path: str, type_url: str) -> None:
        self.counted["streams"] += 1
        call: Any = channel.stream_stream(path)()
        seen = b""
        try:
            await call.write(_request(path, type_url, asked).SerializeToString())
            async with asyncio.timeout(_PATIENCE if own == asked else 30):
                while (data := await call.read()) is not grpc.aio.EOF:
                    seen += _told(data) if "/Delta" in path else data
        except (TimeoutError, asyncio.CancelledError):
            call.cancel()
        except grpc.aio.AioRpcError as error:
            seen += (error.details() or "").encode()
            self.counted["refused"] += own != asked and error.code() is grpc.StatusCode.PERMISSION_DENIED
        self.counted["own"] += own == asked and bool(seen)
        self.counted["foreign"] += any(f"cell-{one.decode()}" != own for one in _FOREIGN.findall(seen))
        self.counted["leaked"] += any(secret in seen for name, secret in self.planted.items() if name != own)


def _methods() -> Iterator[tuple[str, str]]:
    """Every method of every service, and the type that is asked for there."""
    for service, (full, delta, only) in SERVICES.items():
        for method in filter(None, (full, delta)):
            yield f"/{service}/{method}", only
    for method in ("StreamAggregatedResources", "DeltaAggregatedResources"):
        for type_url in (LISTENER, ROUTES, ENDPOINTS, SECRET):
            yield f"/{_ADS}/{method}", type_url
    yield f"/{LOADS}/StreamLoadStats", ""


def _request(path: str, type_url: str, asked: str) -> Any:
    """For everything, or for whatever one could guess: of one's own cell and of all others."""
    guessed = [f"cell-{number:02}/cert" for number in range(_CELLS)] + [f"default/loose-{n}" for n in range(_LOOSE)]
    guessed += [f"acme/dev/cell-{number:02}/north" for number in range(_CELLS)]
    guessed += [f"north|cell-{number:02}.api.http" for number in range(_CELLS)]
    names = [] if type_url in {CLUSTER, LISTENER} else guessed
    if path.endswith("StreamLoadStats"):
        loads = LoadStatsRequest()
        loads.node.id, loads.node.cluster = f"envoy-{asked}", f"acme/dev/{asked}/north"
        return loads
    if "/Delta" in path:
        request: Any = DeltaDiscoveryRequest(type_url=type_url or CLUSTER, resource_names_subscribe=names)
    else:
        request = DiscoveryRequest(type_url=type_url or CLUSTER, resource_names=names)
    request.node.id, request.node.cluster = f"envoy-{asked}", f"acme/dev/{asked}/north"
    return request


def _told(data: bytes) -> bytes:
    """A response without the names that were asked for and do not exist: the client said them itself."""
    response = DeltaDiscoveryResponse.FromString(data)
    return b"".join(one.SerializeToString() for one in response.resources if one.HasField("resource"))


def _outputs(cellway: Cellway) -> list[bytes]:
    """What the server shows and writes, beside the policy files themselves."""
    paths = ("objects?derived=true", "diagnostics", "proxies", "routes", "dump", "traffic", "cells")
    pages = [httpx.get(f"{cellway.admin}/api/v1/{path}", timeout=60).content for path in paths]
    log = Path(cellway.state.parent / "cellway.log").read_bytes()
    return [*pages, httpx.get(f"{cellway.admin}/metrics", timeout=30).content, log]
