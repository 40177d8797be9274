"""Inputs to begin with: everything that this project shows to people is one, and a little of each other kind.

In: the name of a target. Out: bytes that it takes without complaint, or nearly so.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from xds_server.envoy_api.envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest
from xds_server.snapshot.resource import TYPES

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_JWKS = b'{"keys":[{"kty":"oct","alg":"HS256","k":"c2VjcmV0c2VjcmV0c2VjcmV0"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}'
_ISSUER = (
    b'{"issuer":"https://idp.example","token_endpoint":"https://idp.example/t","jwks_uri":"https://idp.example/k"}'
)


def seeds(target: str) -> Iterator[bytes]:
    """All of one target."""
    yield from _SEEDS[target]()


def _policies() -> Iterator[bytes]:
    yield from _folders()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if blocks := _BLOCK.findall(page.read_text(encoding="utf-8")):
            yield "---\n".join(blocks).encode()


def _folders() -> Iterator[bytes]:
    for folder in sorted(path for path in (ROOT / "policies").iterdir() if path.is_dir()):
        yield b"\n---\n".join(path.read_bytes() for path in sorted(folder.rglob("*.yaml")))


def _documents() -> Iterator[bytes]:
    for text in sorted(_folders(), key=len)[:8]:
        objects = [one for one in yaml.safe_load_all(text) if one is not None]
        yield json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, default=str).encode()


def _patches() -> Iterator[bytes]:
    listener = {"type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "default/edge/http-8080"}
    cluster = {"type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "default/one"}
    for resource, operations in (
        (listener, [{"op": "add", "path": "/per_connection_buffer_limit_bytes", "value": 1}]),
        (listener, [{"op": "test", "path": "/name", "value": "x"}, {"op": "remove", "path": "/traffic_direction"}]),
        (listener, [{"op": "replace", "jsonPath": "$..stat_prefix", "value": "x"}]),
        (cluster, [{"op": "move", "from": "/connect_timeout", "path": "/metadata"}]),
        (cluster, [{"op": "copy", "from": "/name", "path": "/alt_stat_name"}]),
    ):
        yield json.dumps([{**resource, "operation": one} for one in operations]).encode()


def _requests() -> Iterator[bytes]:
    for type_url in TYPES:
        delta = [
            DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*", "a"]),
            DeltaDiscoveryRequest(type_url=type_url, response_nonce="1", resource_names_unsubscribe=["a"]),
            DeltaDiscoveryRequest(type_url=type_url, initial_resource_versions={"a": "1"}),
        ]
        full = [
            DiscoveryRequest(type_url=type_url, resource_names=["a", "b"]),
            DiscoveryRequest(type_url=type_url, response_nonce="1", version_info="1", resource_names=["a"]),
        ]
        delta[1].error_detail.message = full[1].error_detail.message = "no"
        for first, messages in ((b"\1", delta), (b"\0", full)):
            bodies = [message.SerializeToString() for message in messages]
            yield first + b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def _reports() -> Iterator[bytes]:
    report = LoadStatsRequest()
    report.node.id, report.node.cluster = "seed", "default/fuzz"
    cluster = report.cluster_stats.add(cluster_name="a", total_dropped_requests=1)
    cluster.upstream_locality_stats.add(total_successful_requests=2, total_error_requests=1)
    yield report.SerializeToString()


def _modules() -> Iterator[bytes]:
    head, name = b"\0asm\1\0\0\0", b"proxy_abi_version_0_2_1"
    exports = bytes((1, len(name))) + name + b"\0\0"
    yield head + b"\1\4\1\x60\0\0" + bytes((7, len(exports))) + exports


def _keys() -> Iterator[bytes]:
    yield from (_JWKS, _ISSUER)


def _certificates() -> Iterator[bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "seed")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    end = start + datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("seed.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    revoked = x509.CertificateRevocationListBuilder(name, start, end).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    yield certificate.public_bytes(pem) + b"\n--\n" + private
    yield revoked.public_bytes(pem)


_SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "policies": _policies,
    "documents": _documents,
    "patches": _patches,
    "requests": _requests,
    "reports": _reports,
    "keys": _keys,
    "certificates": _certificates,
    "modules": _modules,
}
