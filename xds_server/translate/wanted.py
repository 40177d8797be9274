"""Which clusters a gateway needs: what the routes of its hosts, its chains and its ports want, by the name of the cluster.

In: the graph of a gateway. Out: a `Wanted` for each name, kept from call to call: where hosts are other objects, what
they want is looked at anew, and nothing else is. Equal names have equal backends and settings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xds_server.features.contract import AnyFeature
from xds_server.graph import (
    Backend,
    Certificate,
    Destination,
    Forward,
    Gateway,
    Mirror,
    Route,
    Setting,
    StreamRoute,
    VirtualHost,
)
from xds_server.memory import difference
from xds_server.types import Origin


@dataclass(slots=True)
class Wanted:
    """A cluster that something refers to. `client` is for TLS only.

    `own` are its settings, beside the Gateway's. `makers` are the documents behind it, as they were found at several places.
    """

    backend: Backend
    own: tuple[Setting, ...] = ()
    wide: tuple[Setting, ...] = ()
    client: Certificate | None = None
    makers: list[Mapping[Origin, None]] = field(default_factory=list)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings of it."""
        return (*self.own, *self.wide)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The documents behind it."""
        found: dict[Origin, None] = {}
        for one in self.makers:
            found.update(one)
        return tuple(found)

    def is_as(self, other: Wanted) -> bool:
        """True if the same follows from it, of the same documents."""
        return (
            self.backend == other.backend
            and self.own == other.own
            and self.wide is other.wide
            and self.client is other.client
            and [list(one) for one in self.makers] == [list(one) for one in other.makers]
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """What the routes of one virtual host, or one chain, want of a cluster."""

    backend: Backend
    settings: tuple[Setting, ...]
    origins: dict[Origin, None]

    def is_as(self, other: _Share) -> bool:
        return (
            self.backend == other.backend
            and self.settings == other.settings
            and list(self.origins) == list(other.origins)
        )


_Shares = Mapping[str, _Share]


class Wants:
    """All clusters that are wanted, by name and in no order."""

    def __init__(self) -> None:
        self.wanted: dict[str, Wanted] = {}
        self._given: tuple[object, ...] = ()
        self._hosts: tuple[VirtualHost, ...] = ()
        self._of_hosts: dict[int, _Shares] = {}
        self._of_others: tuple[_Shares, ...] = ()
        self._users: dict[str, set[int]] = defaultdict(set)

    def update(self, gateway: Gateway, features: Mapping[str, AnyFeature]) -> set[str]:
        """Look at a gateway. The answer names what is wanted in another way than before, or not at all any more."""
        chains = [chain for port in gateway.ports for chain in port.http_chains]
        hosts = tuple(host for chain in chains for host in chain.hosts)
        others = tuple(_others(gateway, features))
        given = (*(chain.name for chain in chains), gateway.settings, gateway.client)
        names: set[str] = set()
        if not _are_same(given, self._given) or not _are_as(others, self._of_others):
            names.update(self.wanted, *others)
            self._hosts, self._of_hosts, self._users = (), {}, defaultdict(set)
            self._given, self._of_others = given, others
        names |= self._look(hosts, features)
        shared = any(len(self._users[name]) > 1 for name in names)
        order = {id(host): at for at, host in enumerate(hosts)} if shared else {}
        wide = dict.fromkeys(_touching_origins(gateway.settings, features))
        for name in names:
            ranked = sorted(self._users[name], key=order.__getitem__) if shared else self._users[name]
            self._want(name, [self._of_hosts[one][name] for one in ranked], gateway, wide)
        return names

    def _look(self, hosts: tuple[VirtualHost, ...], features: Mapping[str, AnyFeature]) -> set[str]:
        """Note who wants what. The answer names what other hosts than before want."""
        now = difference(self._hosts, hosts)
        self._hosts = hosts
        names: set[str] = set()
        for host in now.gone:
            for name in self._of_hosts.pop(id(host)):
                self._users[name].discard(id(host))
                names.add(name)
        for host in now.came:
            self._of_hosts[id(host)] = shares = _shares(host.routes, features)
            for name in shares:
                self._users[name].add(id(host))
                names.add(name)
        return names

    def _want(self, name: str, shares: list[_Share], gateway: Gateway, wide: Mapping[Origin, None]) -> None:
        shares += [one[name] for one in self._of_others if name in one]
        if not shares:
            self.wanted.pop(name, None)
            del self._users[name]
            return
        first, makers = shares[0], [wide, *(one.origins for one in shares)]
        client = (first.backend.tls.client or gateway.client) if first.backend.tls is not None else None
        self.wanted[name] = Wanted(first.backend, first.settings, gateway.settings, client, makers)


def _are_same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(one, other, strict=True)
    )


def _are_as(one: Sequence[_Shares], other: Sequence[_Shares]) -> bool:
    return len(one) == len(other) and all(
        list(a) == list(b) and all(share.is_as(b[name]) for name, share in a.items())
        for a, b in zip(one, other, strict=True)
    )


def _others(gateway: Gateway, features: Mapping[str, AnyFeature]) -> Iterator[_Shares]:
    """What chains without hosts want, and then all that is wanted for services that settings ask for (key servers)."""
    services: dict[str, _Share] = {}
    _add_services(gateway.settings, features, services)
    for port in gateway.ports:
        _add_services(port.settings, features, services)
        for chain in port.chains:
            _add_services(chain.settings, features, services)
        yield from (_shares((chain.route,), features) for chain in port.stream_chains)
    yield services


def _shares(routes: Iterable[Route | StreamRoute], features: Mapping[str, AnyFeature]) -> _Shares:
    found: dict[str, _Share] = {}
    for route in routes:
        touching = tuple(_touching(route.settings, features))
        for share in _destinations(route):
            if share.backend is not None:
                wanted = found.setdefault(share.cluster, _Share(share.backend, touching, {}))
                origins = (one for setting in touching for one in setting.origins)
                wanted.origins.update(dict.fromkeys((*share.backend.origins, *origins)))
        _add_services(route.settings, features, found)
    return found


def _add_services(settings: Iterable[Setting], features: Mapping[str, AnyFeature], found: dict[str, _Share]) -> None:
    """Add the clusters of services that settings ask for."""
    for setting in settings:
        for backend in features[setting.feature].backends(setting.value):
            wanted = found.setdefault(backend.name, _Share(backend, backend.settings, {}))
            wanted.origins.update(dict.fromkeys(setting.origins))


def _destinations(route: Route | StreamRoute) -> tuple[Destination | Mirror, ...]:
    if isinstance(route, StreamRoute):
        return route.destinations
    return (*route.action.destinations, *route.action.mirrors) if isinstance(route.action, Forward) else ()


def _touching(settings: Iterable[Setting], features: Mapping[str, AnyFeature]) -> Iterator[Setting]:
    """The settings that change clusters."""
    return (one for one in settings if features[one.feature].touches_cluster(one.value))


def _touching_origins(settings: Iterable[Setting], features: Mapping[str, AnyFeature]) -> Iterator[Origin]:
    return (origin for one in _touching(settings, features) for origin in one.origins)
