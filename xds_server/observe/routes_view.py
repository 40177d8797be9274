"""All routes of all gateways: what each looks for, where it leads, and the line that it comes from.

In: what was compiled. Out: JSON values, one for every route of every filter chain, in the order in which Envoy tries them;
routes that answer for what nobody wrote are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xds_server.compile import Compiled
from xds_server.graph import (
    Chain,
    Destination,
    Forward,
    Gateway,
    HttpChain,
    Match,
    PathType,
    Port,
    Redirect,
    Respond,
    Route,
    StreamRoute,
    ValueMatch,
)

Json = dict[str, Any]


def routes_view(compiled: Compiled, gateway: str | None = None) -> list[Json]:
    """The routes of all gateways, or of one."""
    chosen = (one for one in compiled.gateways if gateway in (None, one.name))
    return [row for one in chosen for port in one.ports for chain in port.chains for row in _of(one, port, chain)]


def _of(gateway: Gateway, port: Port, chain: Chain) -> Iterator[Json]:
    head = {
        "gateway": gateway.name,
        "listener": chain.name,
        "addresses": [f"{_bracketed(address)}:{port.port}" for address in port.addresses],
    }
    if isinstance(chain, HttpChain):
        for host in chain.hosts:
            for route in host.routes:
                if route.origins:
                    hosts = [host.hostname, *host.aliases]
                    yield {**head, "hosts": hosts, "match": match_text(route.match), **_route(route)}
    elif chain.route.origins:
        yield {**head, "hosts": list(chain.server_names) or ["*"], "match": port.transport, **_route(chain.route)}


def _route(route: Route | StreamRoute) -> Json:
    first = route.origins[0]
    to = _to(route.action) if isinstance(route, Route) else _shares(route.destinations) or "nowhere"
    place = {"object": str(first.key), "file": first.span.file, "line": first.span.line}
    return {"route": route.name, "to": to, **place}


def match_text(match: Match) -> str:
    """What a request must look like, in one line: `GET /v1/* x-version=2 ?page=1`."""
    paths = {PathType.EXACT: match.path, PathType.PREFIX: f"{match.path.rstrip('/')}/*"}
    parts = [match.method or "*", paths.get(match.path_type, f"~{match.path}")]
    for mark, values in (("", match.headers), ("?", match.query), ("cookie:", match.cookies)):
        parts += [f"{mark}{_value(one)}" for one in values]
    if match.below is not None:
        parts.append(f"(random below {match.below / 10_000:g} %)")
    return " ".join(parts)


def _value(one: ValueMatch) -> str:
    return f"{one.name}{'~' if one.regex else '='}{one.value}"


def _to(action: Forward | Respond | Redirect) -> str:
    if isinstance(action, Respond):
        return f"answers {action.status}"
    if isinstance(action, Redirect):
        path = action.path if action.path is not None else f"{action.prefix}..." if action.prefix is not None else ""
        where = f"{f'{action.scheme}://' if action.scheme else ''}{action.hostname or ''}"
        return f"redirects {action.status} to {where}{f':{action.port}' if action.port else ''}{path}"
    return _shares(action.destinations) or "answers 500"


def _shares(destinations: Iterable[Destination]) -> str:
    shares = [one for one in destinations if one.weight]
    total = sum(one.weight for one in shares)
    names = [one.cluster if one.backend is not None else f"answers {one.error_status}" for one in shares]
    if len(shares) == 1:
        return names[0]
    return ", ".join(f"{100 * one.weight / total:.3g} % {name}" for one, name in zip(shares, names, strict=True))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
