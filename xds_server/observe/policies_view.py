"""Which policies count where: for a route, a gateway or a cell every field with who sets it and who is passed over; for a
policy every place that it is attached above, and whether it counts there.

In: what was compiled, and the name of an object. Out: JSON values. Whose field counts was decided when routes were attached;
nothing is decided anew here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xds_server.compile import Compiled
from xds_server.features import FEATURES
from xds_server.graph import Chain, Covering, Forward, Gateway, HttpChain, Route, StreamRoute
from xds_server.status import Status
from xds_server.types import DEFAULT_NAMESPACE, Key, Origin

Json = dict[str, Any]
_CARRIERS = {feature.name: feature.carriers for feature in FEATURES}
_ROUTES, _FILTER, _TLS = ("HTTPRoute", "GRPCRoute"), "HTTPRouteFilter", "BackendTLSPolicy"
_OWN = (*_ROUTES, _FILTER)
_PROXY = "EnvoyProxy"


@dataclass(frozen=True, slots=True)
class Asked:
    """An object that is asked about: `KIND/NAME` or `KIND/NAMESPACE/NAME`."""

    kind: str
    name: str
    namespace: str = DEFAULT_NAMESPACE

    def fits(self, key: Key) -> bool:
        """Whether this is the key of it. Kinds are compared without case."""
        where = key.namespace in ("", self.namespace)
        return key.kind.lower() == self.kind.lower() and key.name == self.name and where


def read_asked(text: str) -> Asked:
    """The object that a text names. ValueError with a sentence if it names none."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"'{text}' is no KIND/NAME and no KIND/NAMESPACE/NAME, such as HTTPRoute/shop/web")
    return Asked(parts[0], parts[-1], parts[1] if len(parts) == 3 else DEFAULT_NAMESPACE)


def policies_view(compiled: Compiled, asked: Asked) -> Json | None:
    """What is said of policies at an object, or of an object that is a policy; None if there is no such object."""
    found = next((item for item in compiled.objects if asked.fits(item.key)), None)
    if found is None:
        return None
    return {
        "object": str(found.key),
        "source": str(found.source.positions.start),
        "status": list(_conditions(compiled.statuses.get(found.key, Status()))),
        "items": [entry for gateway in compiled.gateways for entry in _at(gateway, asked)],
    }


def known_names(compiled: Compiled, kind: str) -> list[str]:
    """The objects of a kind, as they are asked for."""
    keys = (item.key for item in compiled.objects if item.key.kind.lower() == kind.lower())
    return sorted("/".join(part for part in (key.kind, key.namespace, key.name) if part) for key in keys)


def _conditions(status: Status) -> Iterator[Json]:
    places = [("", status.conditions)]
    for one in (*status.parents, *status.ancestors):
        name = "/".join(part for part in (one.kind, one.namespace, one.name, one.section) if part)
        places.append((name, one.conditions))
    for where, conditions in places:
        for one_of in conditions:
            words = {"type": one_of.type, "status": one_of.status, "reason": one_of.reason, "message": one_of.message}
            yield {"at": where, **words}


def _at(gateway: Gateway, asked: Asked) -> Iterator[Json]:
    whole = asked.fits(gateway.key)
    for chain in (chain for port in gateway.ports for chain in port.chains):
        entry = _listener(gateway, chain)
        about = [*(origin for one in chain.policies for origin in one.origins), *(one for _, one in _settings(chain))]
        if entry["fields"] and (whole or _concerns(asked, [one.key for one in about])):
            yield entry
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for route, hosts in _routes(chain):
            name = route.name.partition("/match/")[0]
            if (name, hosts) in seen or not route.origins:
                continue
            seen.add((name, hosts))
            # A route is its first origin; the others are policies, which are asked for by what they cover.
            others = (*(each for one in route.policies for each in one.origins), *_behind(route))
            keys = [route.origins[0].key, *(one.key for one in others)]
            if whole or _concerns(asked, keys):
                yield _entry(gateway, chain, name, hosts, route)


def _behind(route: Route | StreamRoute) -> Iterator[Origin]:
    """The objects behind the backends of a route, and those behind what it says itself."""
    action = route.action if isinstance(route, Route) else route
    destinations = action.destinations if isinstance(action, Forward | StreamRoute) else ()
    mirrors = action.mirrors if isinstance(action, Forward) else ()
    backends = [*(one.backend for one in destinations), *(one.backend for one in mirrors)]
    yield from (origin for one in backends if one is not None for origin in one.origins)
    yield from (origin for one in route.settings for origin in one.origins if origin.key.kind in _OWN)


def _concerns(asked: Asked, keys: Iterable[Key]) -> bool:
    return any(asked.fits(key) for key in keys)


def _routes(chain: Chain) -> Iterator[tuple[Route | StreamRoute, tuple[str, ...]]]:
    if isinstance(chain, HttpChain):
        for host in chain.hosts:
            for route in host.routes:
                yield route, (host.hostname, *host.aliases)
    else:
        yield chain.route, chain.server_names or ("*",)


def _entry(gateway: Gateway, chain: Chain, name: str, hosts: tuple[str, ...], route: Route | StreamRoute) -> Json:
    first = route.origins[0]
    return {
        "gateway": gateway.name,
        "listener": chain.name,
        "route": name,
        "hosts": list(hosts),
        **_place(first),
        "policies": [_told(one) for one in route.policies],
        "fields": [*_fields(route.policies), *_own_fields(route)],
    }


def _told(one: Covering) -> Json:
    return {**_who(one), "counts": one.counts, "broken": one.broken, "fields": list(one.fields)}


def _own_fields(route: Route | StreamRoute) -> Iterator[Json]:
    """What the route says itself, with its filters, and how TLS is spoken to its backends."""
    found: dict[tuple[str, str], dict[Origin, None]] = {}
    for setting in route.settings:
        for origin in setting.origins:
            whole = origin.key.kind in _ROUTES
            for kind, field in _CARRIERS.get(setting.feature, ()):
                if kind == origin.key.kind == _FILTER or (whole and kind.startswith("HTTPRoute.")):
                    found.setdefault((origin.key.kind, field), {})[origin] = None
    for origin in _behind(route):
        if origin.key.kind == _TLS:
            found.setdefault((_TLS, "validation"), {})[origin] = None
    for (kind, field), origins in found.items():
        yield {"kind": kind, "field": field, "setBy": [_place(one) for one in origins], "overridden": []}


def _fields(policies: Iterable[Covering]) -> Iterator[Json]:
    """Every field that any of them sets, with those that count for it and those that are passed over, nearest first."""
    policies = tuple(policies)
    for kind, name in dict.fromkeys((one.key.kind, name) for one in policies for name in one.fields):
        having = [one for one in policies if one.key.kind == kind and name in one.fields]
        yield {
            "kind": kind,
            "field": name,
            "setBy": [_who(one) for one in having if one.counts],
            "overridden": [_who(one) for one in having if not one.counts],
        }


def _who(one: Covering) -> Json:
    if one.origins and all(origin.key != one.key for origin in one.origins):  # made from a cell
        return {**_place(one.origins[0]), "for": str(one.key), "attachedTo": one.place}
    return {"object": str(one.key), **_where(one.origins), "attachedTo": one.place}


def _listener(gateway: Gateway, chain: Chain) -> Json:
    """What policies of clients, and the like, say of the connections of a listener."""
    found: dict[tuple[str, str], dict[Origin, None]] = {}
    for field, origin in _settings(chain):
        found.setdefault((origin.key.kind, field), {})[origin] = None
    fields = [
        {"kind": kind, "field": field, "setBy": [_place(one) for one in origins], "overridden": []}
        for (kind, field), origins in found.items()
    ]
    first = chain.origins[0] if chain.origins else None
    place = _place(first) if first else {"object": "", "file": "", "line": 0}
    head = {"gateway": gateway.name, "listener": chain.name, "route": "", "hosts": []}
    policies = [_told(one) for one in chain.policies]
    return {**head, **place, "policies": policies, "fields": [*_fields(chain.policies), *fields]}


def _settings(chain: Chain) -> Iterator[tuple[str, Origin]]:
    """The fields behind the settings of a chain, each with who wrote it."""
    for setting in chain.settings:
        for origin in setting.origins:
            for kind, field in _CARRIERS.get(setting.feature, ()):
                if kind == origin.key.kind == _PROXY:
                    yield field, origin


def _place(origin: Origin) -> Json:
    return {"object": str(origin.key), "file": origin.span.file, "line": origin.span.line}


def _where(origins: tuple[Origin, ...]) -> Json:
    span = origins[0].span if origins else None
    return {"file": span.file if span else "", "line": span.line if span else 0}
