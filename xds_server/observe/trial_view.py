"""What a real Envoy says to compiled policies before it gets them, told at the documents that made what it refuses.

In: what was compiled, and a way to ask an Envoy about a bootstrap. Out: diagnostics. Envoy's own words name no document and
often no resource, so the smallest part that is refused alone is looked for: a cluster, a listener, a route.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xds_server.compile import Compiled
from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.features import FEATURES
from xds_server.features.parts.redact import REDACTED
from xds_server.graph import Gateway
from xds_server.observe.resources_view import resource_view, static_bootstrap
from xds_server.snapshot.resource import CLUSTER, LISTENER, TYPES, Snapshot
from xds_server.translate.routes import chain_values
from xds_server.types import Origin

Json = dict[str, Any]
_SHORTEST = 4
_ROUTER = "envoy.filters.http.router"
Ask = Callable[[Json], str]
"""Why an Envoy refuses a bootstrap; empty if it takes it."""


def trial_view(compiled: Compiled, ask: Ask) -> Iterator[Diagnostic]:
    """What Envoy refuses of each gateway."""
    for gateway in compiled.gateways:
        snapshot = compiled.snapshots[gateway.name]
        yield from _Trial(gateway, snapshot, static_bootstrap(snapshot), ask).run()


@dataclass(frozen=True, slots=True)
class _Trial:
    """One gateway, with all that it is made of in one bootstrap."""

    gateway: Gateway
    snapshot: Snapshot
    bootstrap: Json
    ask: Ask

    def run(self) -> Iterator[Diagnostic]:
        reason = self.ask(self.bootstrap)
        if not reason:
            return
        found = list(self._parts())
        yield from found or [self._told(self.gateway.origins, f"gateway {self.gateway.name}", reason)]

    def _parts(self) -> Iterator[Diagnostic]:
        own = self.bootstrap["static_resources"]
        clusters = dict(refused(own["clusters"], lambda some: self._ask(some, [])))
        for name, reason in clusters.items():
            yield self._told(_origins(self.snapshot, CLUSTER, name), f"cluster {name}", reason)
        sound = [one for one in own["clusters"] if one["name"] not in clusters]
        bare = [_only(one, frozenset()) for one in own["listeners"]]
        listeners = dict(refused(bare, lambda some: self._ask(sound, some)))
        for listener in bare:
            if listener["name"] in listeners:
                yield from self._listener(listener, listeners[listener["name"]], sound)
        for listener in own["listeners"]:
            if listener["name"] not in listeners:
                yield from self._routes(listener, sound)

    def _listener(self, listener: Json, reason: str, clusters: Sequence[Json]) -> Iterator[Diagnostic]:
        """What is wrong with a listener without routes: one of its filters, if they can be told, or it as a whole."""
        name = listener["name"]
        filters = [{"name": one} for one in dict.fromkeys(_filter_names(listener)) if one != _ROUTER]

        def asked(some: Sequence[Json]) -> str:
            names = frozenset((_ROUTER, *(one["name"] for one in some)))
            return self._ask(clusters, [_with_filters(listener, names)])

        found = {} if asked([]) else dict(refused(filters, asked))
        for one, why in found.items():
            who = _who_asked(self.gateway, one) or _origins(self.snapshot, LISTENER, name)
            yield self._told(who, f"filter {one} of listener {name}", why)
        if not found:
            yield self._told(_origins(self.snapshot, LISTENER, name), f"listener {name}", reason)

    def _routes(self, listener: Json, clusters: Sequence[Json]) -> Iterator[Diagnostic]:
        known = {
            route.name: route
            for port in self.gateway.ports
            for chain in port.http_chains
            for host in chain.hosts
            for route in host.routes
        }
        routes = [{"name": name} for name in dict.fromkeys(_route_names(listener))]

        def asked(some: Sequence[Json]) -> str:
            return self._ask(clusters, [_only(listener, frozenset(one["name"] for one in some))])

        for name, reason in refused(routes, asked):
            origins = known[name].origins if name in known else ()
            yield self._told(origins or _origins(self.snapshot, LISTENER, listener["name"]), f"route {name}", reason)

    def _ask(self, clusters: Sequence[Json], listeners: Sequence[Json]) -> str:
        static = self.bootstrap["static_resources"] | {"clusters": list(clusters), "listeners": list(listeners)}
        return self.ask(self.bootstrap | {"static_resources": static})

    def _told(self, origins: Sequence[Origin], what: str, reason: str) -> Diagnostic:
        for secret in secret_texts(self.snapshot):
            reason = reason.replace(secret, REDACTED)  # Envoy may quote what it refuses
        first = origins[0] if origins else None
        others = ", ".join(str(one) for one in origins[1:])
        return diagnose(
            "T130",
            first.span if first else None,
            subject=str(first.key) if first else "",
            hint=f"also made by {others}" if others else "",
            what=what,
            reason=reason,
        )


def secret_texts(snapshot: Snapshot) -> tuple[str, ...]:
    """The texts that stand in the resources and not in what may be shown of them, the longest first."""
    found: set[str] = set()
    for type_url in TYPES:
        for resource in snapshot.get(type_url).values():
            shown = set(_texts(resource_view(resource)))
            found.update(set(_texts(resource_view(resource, show_secrets=True))) - shown)
    plain = {text for secret in found for text in _decoded(secret)}
    long = (text for text in found | plain if len(text) >= _SHORTEST)  # a shorter one would be found everywhere
    return tuple(sorted(long, key=lambda text: (-len(text), text)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def _decoded(text: str) -> Iterator[str]:
    """What base64 stands for, if it is text; and its lines, since reasons are told in one."""
    try:
        plain = base64.b64decode(text, validate=True).decode()
    except ValueError:
        plain = text
    yield from (one for one in (plain, *plain.splitlines()) if one.strip())


def refused(parts: Sequence[Json], ask: Callable[[Sequence[Json]], str]) -> Iterator[tuple[str, str]]:
    """The names of the parts that are refused alone, with the reasons: by halves, since most are not."""
    reason = ask(parts) if parts else ""
    if not reason:
        return
    if len(parts) == 1:
        yield parts[0]["name"], reason
        return
    middle = len(parts) // 2
    yield from refused(parts[:middle], ask)
    yield from refused(parts[middle:], ask)


def _origins(snapshot: Snapshot, type_url: str, name: str) -> tuple[Origin, ...]:
    found = snapshot.get(type_url).get(name)
    return tuple(found.origins) if found is not None else ()


def _who_asked(gateway: Gateway, name: str) -> tuple[Origin, ...]:
    """Who made what stands in an HTTP filter: the policies of the features that it belongs to."""
    found: dict[Origin, None] = {}
    for chain in (chain for port in gateway.ports for chain in port.http_chains):
        routes = [route for host in chain.hosts for route in host.routes]
        settings = [*chain.settings, *(setting for route in routes for setting in route.settings)]
        for feature in FEATURES:
            if name in [one for one, _ in feature.http_filters(chain_values(chain, feature))]:
                mine = (setting for setting in settings if setting.feature == feature.name)
                found.update(dict.fromkeys(origin for setting in mine for origin in setting.origins))
    return tuple(found)


def _filter_names(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        for one in value:
            yield from _filter_names(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from (each["name"] for each in one) if key == "http_filters" else _filter_names(one)


def _with_filters(value: Any, names: frozenset[str]) -> Any:
    """A listener with these of its HTTP filters only."""
    if isinstance(value, list):
        return [_with_filters(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: [each for each in one if each["name"] in names] if key == "http_filters" else _with_filters(one, names)
        for key, one in value.items()
    }


def _only(value: Any, names: frozenset[str]) -> Any:
    """A listener with these of its routes only."""
    if isinstance(value, list):
        return [_only(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: [host | {"routes": _named(host, names)} for host in one] if key == "virtual_hosts" else _only(one, names)
        for key, one in value.items()
    }


def _named(host: Json, names: frozenset[str]) -> list[Json]:
    return [route for route in host.get("routes", ()) if route.get("name") in names]


def _route_names(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        for one in value:
            yield from _route_names(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "virtual_hosts":
                yield from (route["name"] for host in one for route in host.get("routes", ()) if "name" in route)
            else:
                yield from _route_names(one)
