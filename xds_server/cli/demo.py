"""What `run --demo` serves and what it tells a user to try.

In: the compiled gateways. Out: the loopback endpoints that routes lead to, and curl lines with the answer to expect.
A route that no line can be written for (a regular expression, a listener that asks for a certificate) gets none.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import re2

from xds_server.features import FEATURES
from xds_server.graph import Forward, Gateway, HttpChain, Match, PathType, Port, Redirect, Respond, Route, VirtualHost

Endpoint = tuple[str, int]
_AHEAD = ("component|east", "component|south")
"""Where sidecars send what leaves their cell: it is decided there."""


@dataclass(frozen=True, slots=True)
class Try:
    """A command line and what it answers."""

    gateway: str
    route: str
    command: str
    expected: str


def demo_endpoints(gateways: Iterable[Gateway]) -> tuple[Endpoint, ...]:
    """The loopback endpoints that routes lead to, without those at which a gateway itself listens."""
    gateways = tuple(gateways)
    own = {(address, port.port) for gateway in gateways for port in gateway.ports for address in port.addresses}
    found = {
        (endpoint.address, endpoint.port)
        for gateway in gateways
        for route in _routes(gateway)
        if isinstance(route.action, Forward)
        for destination in route.action.destinations
        if destination.backend and not destination.backend.dns and _plain(destination.backend.tls)
        for endpoint in destination.backend.endpoints
        if ipaddress.ip_address(endpoint.address).is_loopback
    }
    return tuple(sorted(one for one in found if one not in own and not {("0.0.0.0", one[1]), ("::", one[1])} & own))  # noqa: S104


def things_to_try(gateways: Iterable[Gateway]) -> tuple[Try, ...]:
    """A line for every route that one can be written for. Of routes with the same line the first one answers."""
    found = (
        one
        for gateway in gateways
        for port in gateway.ports
        for chain in port.http_chains
        for host in chain.hosts
        for route in host.routes
        if (one := _try(gateway, port, chain, host, route)) is not None
    )
    first: dict[str, Try] = {}
    for one in found:
        first.setdefault(one.command, one)
    return tuple(first.values())


def _plain(tls: object) -> bool:
    return tls is None


def _routes(gateway: Gateway) -> Iterator[Route]:
    for port in gateway.ports:
        for chain in port.http_chains:
            for host in chain.hosts:
                yield from host.routes


def _try(gateway: Gateway, port: Port, chain: HttpChain, host: VirtualHost, route: Route) -> Try | None:
    match = route.match
    name = host.hostname.replace("*.", "any.", 1) if host.hostname != "*" else ""
    headers = [one for one in match.headers if one.name != "host"]
    regex = match.path_type == PathType.REGEX or any(one.regex for one in (*headers, *match.query, *match.cookies))
    if regex or match.method == "CONNECT" or _asks_for_certificates(chain) or not _is_for(name, match):
        return None
    words = ["curl", "-i"]
    if match.method and match.method != "GET":
        words += ["--head"] if match.method == "HEAD" else ["-X", match.method]
    address = _reachable(port.addresses[0])
    at = f"[{address}]" if ":" in address else address
    if port.tls:
        name = name or next((one.replace("*.", "any.", 1) for one in chain.server_names), "")
        where = f"https://{name or at}:{port.port}"
        words += ["-k", *(["--resolve", f"{name}:{port.port}:{at}"] if name else [])]
    else:
        where = f"http://{at}:{port.port}"
        words += ["-H", f"Host: {name}"] if name else []
    for header in headers:
        words += ["-H", f"{header.name}: {header.value}"]
    if match.cookies:
        words += ["-b", "; ".join(f"{one.name}={one.value}" for one in match.cookies)]
    query = "&".join(f"{one.name}={one.value}" for one in match.query)
    words.append(f"{where}{match.path}{'?' + query if query else ''}")
    return Try(gateway.name, route.name, shlex.join(words), _expected(route))


def _asks_for_certificates(chain: HttpChain) -> bool:
    by_name = {feature.name: feature for feature in FEATURES}
    checked = any(by_name[setting.feature].checks_clients(setting.value) for setting in chain.settings)
    return checked or chain.validation is not None


def _is_for(host: str, match: Match) -> bool:
    """True if the match takes this Host, without a port."""
    own = [one for one in match.headers if one.name == "host"]
    return all(re2.fullmatch(one.value, host) if one.regex else one.value == host for one in own)


def _reachable(address: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def _expected(route: Route) -> str:
    if isinstance(route.action, Respond):
        return str(route.action.status)
    names = {setting.feature for setting in route.settings}
    if "jwt" in names:
        return "401 without a token"
    if isinstance(route.action, Redirect):
        return f"{route.action.status} to another URL"
    limited = ", and 429 above the limit" if any("rate_limit" in name for name in names) else ""
    shares = [one for one in route.action.destinations if one.weight > 0]
    total = sum(one.weight for one in shares)
    if not shares:
        return "500"
    said = []
    for one in shares:
        share = f"{100 * one.weight / total:.0f}% " if len(shares) > 1 else ""
        if one.backend is None:
            said.append(f"{share}{one.error_status}")
        elif one.backend.lookups is not None:
            said.append(f"{share}what the host answers that the request names")
        elif one.backend.name in _AHEAD:
            said.append(f"{share}what the cell's own gateway answers")
        elif not one.backend.endpoints:
            said.append(f"{share}503")
        else:
            said.append(f"{share}200 from {one.backend.name}")
    return "; ".join(said) + limited
