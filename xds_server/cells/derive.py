"""Derived objects: documents made from cells, read by the same parser as written ones.

In: kind, name, spec as JSON, and the objects it was made from. Out: typed objects, and what is wrong with them at the
places of the documents they came from. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xds_server.cells.merge import Merged
from xds_server.diagnostics import Diagnostic, Positions, Span
from xds_server.model.object import Object
from xds_server.model.parse import parse_object
from xds_server.model.policies import Targets
from xds_server.types import ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Key, Origin

VERSIONS = {
    "Gateway": f"{GATEWAY_GROUP}/v1",
    "HTTPRoute": f"{GATEWAY_GROUP}/v1",
    "TLSRoute": f"{GATEWAY_GROUP}/v1",
    "TCPRoute": f"{GATEWAY_GROUP}/v1",
    "Backend": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
    "EnvoyProxy": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
    "HTTPRouteFilter": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
    "SecurityPolicy": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
    "BackendTrafficPolicy": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
    "BackendTLSPolicy": f"{GATEWAY_GROUP}/v1",
    "ClientTrafficPolicy": f"{ENVOY_GATEWAY_GROUP}/v1alpha1",
}

_PROTECTIONS = ("ClientTrafficPolicy", "BackendTLSPolicy")


def origins_of(sources: Iterable[Object]) -> tuple[Origin, ...]:
    """The documents behind several objects."""
    return tuple(dict.fromkeys(origin for source in sources for origin in source.origins))


@dataclass(slots=True)
class Output:
    """What the room makes: derived objects by identity, diagnostics, and which written object became which.

    `routes` are the derived routes that a section of a cell stands for, where they are more than one or not HTTPRoutes;
    of these, `tunnels` end the tunnels that components open, and `streams` lead bytes to a host and a port. `sidecars` are
    the Gateways and routes of sidecars, each with what it would be called if it were a section.
    """

    objects: dict[Key, Object] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    made: dict[Key, dict[Key, None]] = field(default_factory=dict)
    routes: dict[tuple[str, str], list[Key]] = field(default_factory=dict)
    tunnels: set[Key] = field(default_factory=set)
    streams: dict[Key, tuple[str, int]] = field(default_factory=dict)
    sidecars: dict[Key, str] = field(default_factory=dict)
    unprotected: set[Key] = field(default_factory=set)
    """What a policy was to protect that could not be made."""
    reserved: set[Key] = field(default_factory=set)
    """Routes that are made when written ones are taken: no written one has their names."""

    def add(
        self,
        kind: str,
        namespace: str,
        name: str,
        spec: dict[str, Any],
        made_from: Iterable[Object],
        at: Span | None = None,
    ) -> Key:
        """Make an object; `at` is the place that stands for all of it (default: its first source's start)."""
        sources = list(made_from)
        document = {
            "apiVersion": VERSIONS[kind],
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        key = Key(VERSIONS[kind].rpartition("/")[0], kind, namespace, name)
        before = self.objects.get(key)
        if before is not None and before.document != document:
            self.problems.append(sources[0].diagnose("C110", reason=f"{key} is the name of what a cell means"))
        return self.parse(document, Positions(at or sources[0].source.positions.start), origins_of(sources))

    def add_policy(self, kind: str, route: Key, merged: Merged, at: Span, rule: str = "") -> Key:
        """Make a policy for one derived route, or a rule of it, out of merged layers.

        Routes of different kinds may have one name.
        """
        target = {"group": GATEWAY_GROUP, "kind": route.kind, "name": route.name}
        name = route.name if route.kind == "HTTPRoute" else f"{route.name}.{route.kind.lower()}"
        if rule:
            target["sectionName"], name = rule, f"{name}.rule.{rule}"
        document = {
            "apiVersion": VERSIONS[kind],
            "kind": kind,
            "metadata": {"name": name, "namespace": route.namespace},
            "spec": {**merged.value, "targetRefs": [target]},
        }
        values = {("spec", *path): span for path, span in merged.values.items()}
        keys = {("spec", *path): span for path, span in merged.keys.items()}
        return self.parse(document, Positions(at, values, keys), tuple(merged.origins))

    def parse(self, document: dict[str, Any], positions: Positions, origins: tuple[Origin, ...]) -> Key:
        """Read a derived document and keep the object, if it is one."""
        item, problems = parse_object(document, positions, origins)
        self.problems += problems
        group = document["apiVersion"].rpartition("/")[0]
        metadata = document["metadata"]
        key = Key(group, document["kind"], metadata["namespace"], metadata["name"])
        if item is not None and (not item.broken or isinstance(item.spec, Targets)):
            self.objects[item.key] = item
        if key.kind in _PROTECTIONS and (item is None or item.broken):
            for target in document["spec"]["targetRefs"]:
                self.unprotected.add(Key(target["group"], target["kind"], key.namespace, target["name"]))
        return key

    def close_unprotected(self) -> None:
        """Take away what would be there without its protection: nobody reaches it, and routes to it answer 500."""
        for key in self.unprotected:
            self.objects.pop(key, None)
        self.unprotected.clear()

    def became(self, written: Key, derived: Key) -> None:
        """Note that a derived object carries on what a written one says."""
        self.made.setdefault(written, {})[derived] = None
