"""What a fuzzer may give any bytes to. Each target returns, whatever the bytes are; a failure is an exception.

In: bytes. Out: nothing. A mistake in them must end as a diagnostic with a place or as the room's own kind of error.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from xds_server.attach.certificates import key_pair_problem
from xds_server.compile import Options, compile_objects
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds_server.features.parts.issuers import description_problem
from xds_server.features.parts.key_sets import key_set_problem
from xds_server.features.parts.pem import certificate_problem, revocation_problem
from xds_server.features.parts.wasm_binaries import binary_problem
from xds_server.load.objects import parse_documents_of
from xds_server.load.yaml import parse_file
from xds_server.serve.requests import Request
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope, TooLargeError, read_delta, read_full, read_loads
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    HOST,
    LISTENER,
    ROUTES,
    SECRET,
    Resource,
    Snapshot,
    snapshot_of,
)

FILE, JSON_FILE = "fuzz.yaml", "fuzz.json"
_PATCHED = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: patched}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  type: JSONPatch
  jsonPatches: """


def policies(data: bytes) -> None:
    """A policy file, up to the bytes of resources, which a second codec must read as the same."""
    _compiled(FILE, data)


def documents(data: bytes) -> None:
    """The same as a file of JSON, which has a reader of its own."""
    _compiled(JSON_FILE, data)


def _compiled(file: str, data: bytes) -> None:
    parsed = parse_file(file, data)
    objects = parse_documents_of(parsed.documents, parsed.broken)
    compiled = compile_objects(objects.objects, Options(extenders=("*",)))
    for problem in (*parsed.diagnostics, *objects.diagnostics, *compiled.diagnostics):
        assert problem.span is not None, problem
        assert (problem.span.file, problem.span.line > 0, problem.span.column > 0) == (file, True, True), problem
    for snapshot in compiled.snapshots.values():
        for named in snapshot.resources.values():
            for resource in named.values():
                _reread(resource)


def patches(data: bytes) -> None:
    """The operations of an EnvoyPatchPolicy on a gateway with a route and a backend, as JSON or YAML in one line."""
    policies(_PATCHED + data.replace(b"\n", b" "))


def _reread(resource: Resource) -> None:
    ours, second = _codecs(resource.type_url)
    again = ours.FromString(bytes(second.parse(resource.body)))
    assert again == ours.FromString(resource.body), resource.name


@cache
def _codecs(type_url: str) -> tuple[type[Message], Any]:
    """The class of a resource in protobuf's own codec and in one that shares no code with it."""
    package, _, name = type_url.rpartition("/")[2].rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        second = getattr(importlib.import_module(f"envoy_data_plane.{package}"), name)
    return _messages(f"{package}.{name}"), second


def _messages(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def requests(data: bytes) -> None:
    """A stream of an Envoy: one byte for the protocol, then requests, each after two bytes with its length."""
    delta = bool(data[:1] and data[0] & 1)
    stream = Stream(delta, Envelope())
    stream.replace_snapshot(_world("1"))
    place, now = 1, 0.0
    while place + 2 <= len(data):
        length = int.from_bytes(data[place : place + 2], "big")
        message, place = data[place + 2 : place + 2 + length], place + 2 + length
        try:
            request: Request = read_delta(message) if delta else read_full(message)
        except DecodeError:
            continue
        now += 1.0
        stream.receive(request, now)
        if length % 7 == 0:
            stream.replace_snapshot(_world(str(length)))
        for _, response in stream.poll(now):
            (DeltaDiscoveryResponse if delta else DiscoveryResponse).FromString(response)


@cache
def _world(version: str) -> Snapshot:
    names = {CLUSTER: "ab", ENDPOINTS: "ab", SECRET: "s", LISTENER: "l", ROUTES: "r", HOST: "h"}
    return snapshot_of(
        "default/fuzz",
        [Resource(kind, name, version.encode(), version) for kind, letters in names.items() for name in letters],
    )


def keys(data: bytes) -> None:
    """What should be a JSON Web Key Set, or an issuer's description of itself."""
    text = data.decode(errors="replace")
    assert isinstance(key_set_problem(text), str)
    assert isinstance(description_problem(text, "https://idp.example/.well-known/openid-configuration"), str)


def certificates(data: bytes) -> None:
    """What should be PEM: certificates, a revocation list, a key (after a line of two dashes)."""
    assert isinstance(certificate_problem(data), str)
    assert isinstance(revocation_problem(data), str)
    chain, _, key = data.partition(b"\n--\n")
    assert isinstance(key_pair_problem(chain, key), str)


def modules(data: bytes) -> None:
    """What should be a module of WebAssembly."""
    assert isinstance(binary_problem(data), str)


def reports(data: bytes) -> None:
    """What should be a report of load of an Envoy."""
    try:
        report = read_loads(data)
    except (DecodeError, TooLargeError):
        return
    assert all(load.failed <= load.requests for load in report.loads.values())


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (policies, documents, patches, requests, reports, keys, certificates, modules)
}
