"""Snapshots of made-up resources: the body of each is its name, a version makes it different."""

from __future__ import annotations

from xds_server.diagnostics import Span
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    HOST,
    LISTENER,
    ROUTES,
    RUNTIME,
    SCOPES,
    SECRET,
    Resource,
    Snapshot,
    snapshot_of,
)
from xds_server.types import Key, Origin

SHORT = {
    "c": CLUSTER,
    "e": ENDPOINTS,
    "l": LISTENER,
    "r": ROUTES,
    "s": SECRET,
    "o": SCOPES,
    "h": HOST,
    "x": EXTENSION,
    "t": RUNTIME,
}


def resource(short: str, name: str, version: str) -> Resource:
    """A resource; `short` is a letter of `SHORT`."""
    origin = Origin(Key("", "Thing", "default", name), Span(f"{name}.yaml", 7, 1))
    return Resource(SHORT[short], name, name.encode(), version, (origin,))


def snapshot(*texts: str) -> Snapshot:
    """`snapshot("c:one@1", "e:one@1")`: a cluster and its endpoints, version 1."""
    resources = []
    for text in texts:
        short, _, rest = text.partition(":")
        name, _, version = rest.partition("@")
        resources.append(resource(short, name, version))
    return snapshot_of("default/edge", resources)
