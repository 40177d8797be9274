"""Large chains -> several route tables in the place of one, of which Envoy chooses by a hash of the host.

In: a gateway, or a chain, or a connection manager. Out: which chains have several tables, which of these a host is in, and
the scopes and header by which Envoy finds them. Envoy builds a changed table anew as a whole, so a smaller one is there
sooner. The hash is one that regular expressions can say: bit by bit, whether the number of characters of a set is odd.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from hashlib import blake2b
from operator import attrgetter, is_, xor

from xds_server.envoy_api.envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import (
    HeaderMutation as EarlyMutation,
)
from xds_server.envoy_api.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from xds_server.features.contract import AnyFeature, pack
from xds_server.features.parts.headers import OVERWRITE, TABLE, option
from xds_server.features.parts.values import ads
from xds_server.graph import Chain, Gateway, HttpChain, Port, VirtualHost
from xds_server.translate.message import Translated
from xds_server.types import Origin

_SETS = ("bcfgjknorsvwz12569", "cdefklmnstuv25678", "efghijkluvwxyz13467", "ijklmnopqrstuvwx0379", "qrstuvwxyz2468-")
_BITS = bytes(sum(1 << at for at, one in enumerate(_SETS) if chr(byte).lower() in one) for byte in range(256))
_VISIBLE = frozenset(map(chr, range(0x21, 0x7F))) - {":"}
COUNT = 1 << len(_SETS)
LIMIT = 1_000
"""Routes of a chain with one table, at most."""
MOST = 8
"""So many chains of a gateway have several tables: Envoy tells each of the scopes of all."""
_WAIT = 15
"""Seconds that Envoy waits for the scopes of a listener, as it does for whatever else it asks for."""
_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def spread_chains(gateway: Gateway, features: Sequence[AnyFeature], limit: int = LIMIT) -> Gateway:
    """The gateway, with the chains marked that get several tables. What the chain is called decides nothing of it."""
    known = {feature.name: feature for feature in features}
    patched = {(one.type_url, one.name) for patches in gateway.patches for one in patches.patches}
    left, ports = MOST, list[Port]()
    for port in gateway.ports:
        chains = list[Chain]()
        for chain in port.chains:
            large = left and isinstance(chain, HttpChain) and _is_large(chain, limit)
            if large and isinstance(chain, HttpChain) and not _is_bound(chain, port, known, patched):
                left -= 1
                chains.append(replace(chain, spread=True, known=chain.values))
            else:
                chains.append(chain)
        ports.append(port if all(map(is_, chains, port.chains)) else replace(port, chains=tuple(chains)))
    return gateway if left == MOST else replace(gateway, ports=tuple(ports))


def _is_large(chain: HttpChain, limit: int) -> bool:
    """True if it has many routes, and few of these would have to be in several tables."""
    if chain.on_demand:
        return False
    total = sum(map(len, map(attrgetter("routes"), chain.hosts)))  # every edit counts them
    if total <= limit:
        return False
    return sum(copies * len(host.routes) for host, copies in _copied(chain)) <= total


def _copied(chain: HttpChain) -> Iterator[tuple[VirtualHost, int]]:
    """The hosts that stand in several tables, and in how many more than one."""
    for host in [one for one in chain.hosts if one.aliases or one.hostname[0] == "*"]:  # every edit looks for them
        found = places((host.hostname, *host.aliases))
        copies = (COUNT if found is None else len(found)) - 1
        if copies:
            yield host, copies


def _is_bound(chain: HttpChain, port: Port, features: Mapping[str, AnyFeature], patched: set[tuple[str, str]]) -> bool:
    """True if the header would be seen, or the host or the header changed behind it, if somebody means its one table, or if
    what Envoy counts for a route would be counted for each of its copies."""
    settings = [(one.feature, one.value) for one in (*chain.settings, *port.settings)]
    settings += [(name, value) for name, values in chain.values.items() for value in values]
    used = [(features[name], value) for name, value in settings if name in features]
    if any(feature.reads_requests or feature.chooses_again(value) for feature, value in used):
        return True
    counting = {feature.name for feature, _ in used if feature.counts}
    if counting and any(counting & host.values.keys() for host, _ in _copied(chain)):
        return True
    if any(url == _LISTENER and name.partition("/quic")[0] == port.name for url, name in patched):
        return True
    return any(url == _ROUTES and name.partition("@")[0] == chain.name for url, name in patched)


def places(hosts: Iterable[str]) -> frozenset[int] | None:
    """The tables in which a virtual host of these names stands; None: in all."""
    hosts = tuple(hosts)
    return None if _is_wide(hosts) else frozenset(map(place, hosts))


def _is_wide(hosts: Iterable[str]) -> bool:
    return any(one.startswith("*") for one in hosts)


@lru_cache(1 << 16)
def place(host: str) -> int:
    """The table of a host without a port."""
    return reduce(xor, host.encode().translate(_BITS), 0)


def part_name(table: str, place: int) -> str:
    """The name of a table, of its scope, and the value of the header."""
    return f"{table}/{place:0{len(_SETS)}b}"


def part_names(table: str) -> tuple[str, ...]:
    """All of them."""
    return tuple(part_name(table, one) for one in range(COUNT))


def translate_scopes(table: str, origins: Sequence[Origin]) -> list[Translated]:
    """What leads Envoy from the value of the header to a table."""
    found = []
    for name in part_names(table):
        scope = ScopedRouteConfiguration(name=name, route_configuration_name=name)
        scope.key.fragments.add(string_key=name)
        found.append(Translated(name, scope, origins, ((_ROUTES, name),)))
    return found


def set_scopes(manager: HttpConnectionManager, table: str) -> None:
    """Have a connection manager choose among the tables. The header is made last, of the host that routes see."""
    written = option(TABLE, f"{table}/", OVERWRITE)
    written.header.value += _EXPRESSIONS
    config = EarlyHeaderMutation(mutations=[EarlyMutation(append=written)])
    manager.early_header_mutation_extensions.add(name="cellway.table", typed_config=pack(config))
    scopes = manager.scoped_routes
    scopes.name = table
    extractor = scopes.scope_key_builder.fragments.add().header_value_extractor
    extractor.name, extractor.index = TABLE, 0
    scopes.rds_config_source.CopyFrom(ads())
    source = scopes.scoped_rds.scoped_rds_config_source
    source.CopyFrom(ads())
    # Connection managers share a subscription if they ask in the same words, and whoever comes later does not wait for
    # what it needs. Words of their own for each table: then a listener waits for its scopes and their tables.
    source.initial_fetch_timeout.seconds = _WAIT
    source.initial_fetch_timeout.nanos = int.from_bytes(blake2b(table.encode(), digest_size=3).digest())


def _pattern(chars: str) -> str:
    """What a host with an even number of these characters matches, as a text in an expression; its port does not count."""
    inside = {*chars, *chars.upper()}
    within, outside = _class(inside), _class(_VISIBLE - inside)
    return f"^(?:{outside}|{within}{outside}*{within})*(:[!-9;-~]*)?$"


def _class(chars: Iterable[str]) -> str:
    """A class of characters; those that mean something are written as numbers."""
    codes, found = sorted(map(ord, chars)), ""
    while codes:
        end = 0
        while end + 1 < len(codes) and codes[end + 1] == codes[end] + 1:
            end += 1
        found += _code(codes[0]) if not end else f"{_code(codes[0])}-{_code(codes[end])}"
        codes = codes[end + 1 :]
    return f"[{found}]"


def _code(code: int) -> str:
    return chr(code) if chr(code).isalnum() else f"\\\\x{code:02x}"


PATTERNS = tuple(map(_pattern, reversed(_SETS)))
"""By bit of the name of a table, the first one first."""
_EXPRESSIONS = "".join(f"%CEL(request.host.matches('{one}') ? '0' : '1')%" for one in PATTERNS)
