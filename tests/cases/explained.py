"""Whether what is explained of a request agrees with what Envoy answered to it.

In: a snapshot, a request of a case and the answers of a real Envoy. Out: what differs. Where a filter that may answer
by itself is switched on, every status is possible; where one surely answers, only its own; nothing else is left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from tests.cases.answers import Answer
from tests.cases.reading import Request
from tests.e2e.running import Block
from xds_server.explain.request import read_request
from xds_server.explain.tables import Tables, read_tables
from xds_server.explain.urls import location, sent_path
from xds_server.explain.walk import Answer as Explained
from xds_server.explain.walk import explain
from xds_server.snapshot.resource import Snapshot

_PORTS = {"http": 10080, "https": 10443}
_SERVERS = {**{f"echo-{n}": (10 + n, 3000) for n in (1, 2, 3)}, **{f"grpc-{n}": (20 + n, 3000) for n in (1, 2)}}
_REPLACED = "envoy.filters.http.custom_response"


def disagreement(snapshot: Snapshot, block: Block, asked: Request, answers: Sequence[Answer]) -> str:
    """What one explanation and the answers of Envoy do not agree on; empty if there is nothing."""
    tables = read_tables(snapshot)
    grpc = asked.method == "GRPC"
    url = f"{asked.scheme}://{asked.host}:{asked.port or _PORTS[asked.scheme]}{asked.path}"
    headers = [*asked.headers, ("content-type", "application/grpc")] if grpc else list(asked.headers)
    request = read_request("POST" if grpc else asked.method, url, headers)
    found = explain(tables, replace(request, source="127.0.0.1"))
    if len(found) != 1:
        return f"{len(found)} explanations"
    (one,) = found
    for answer in answers:
        problem = _differs(one, answer, tables, block)
        if problem:
            return f"{problem}; explained: {one.refusal or [share.route.name for share in one.shares]}"
    return ""


def _differs(one: Explained, answer: Answer, tables: Tables, block: Block) -> str:
    servers, statuses, places = _possible(one, tables, block)
    refusals = [share.refusal for share in one.shares]
    surely = {refusal.status for refusal in refusals if refusal is not None}
    if surely and None not in refusals:
        fine = answer.grpc or answer.status in surely or _REPLACED in one.filters
        return "" if fine and answer.upstream == "none" else f"status {answer.status}, surely explained: {surely}"
    open_ = any(verdict.decision == "mayAnswer" for share in one.shares for verdict in share.verdicts) or surely
    if answer.upstream != "none":
        if answer.upstream not in servers:
            return f"{answer.upstream} answered, explained: {servers or statuses}"
        return _sent_otherwise(one, answer)
    if servers or open_ or answer.grpc or _REPLACED in one.filters:
        return ""
    if answer.status not in statuses:
        return f"status {answer.status}, explained: {statuses}"
    told = answer.headers.get("location")
    if told is not None and _without_port(told) not in map(_without_port, places):
        return f"redirected to {told}, explained: {places}"
    return ""


def _sent_otherwise(one: Explained, answer: Answer) -> str:
    """How the path that the server saw differs."""
    assert one.request is not None
    paths = {sent_path(share.route, one.request) for share in one.shares if share.route.HasField("route")}
    seen = {seen.path for seen in answer.seen if seen.server == answer.upstream}
    return "" if seen <= paths else f"{answer.upstream} saw {seen}, explained: {paths}"


def _without_port(url: str) -> str:
    """The client of the cases sends no port that is not written, so only what follows it is compared."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{url.partition(parts.netloc)[2]}"


def _possible(one: Explained, tables: Tables, block: Block) -> tuple[set[str], set[int], list[str]]:
    servers: set[str] = set()
    statuses = {one.status} if one.refusal else set()
    places: list[str] = []
    by_address = {f"{block.address(number)}:{port}": name for name, (number, port) in _SERVERS.items()}
    for share in one.shares:
        route = share.route
        if route.HasField("direct_response"):
            statuses.add(route.direct_response.status)
        elif route.HasField("redirect"):
            assert one.request is not None
            statuses.add(301 + (0, 1, 2, 6, 7)[route.redirect.response_code] if route.redirect.response_code else 301)
            places.append(location(route, one.request))
        else:
            weighted = route.route.weighted_clusters.clusters
            names = [share.name for share in weighted if share.weight.value] or [route.route.cluster]
            known = {by_address.get(endpoint, endpoint) for name in names for endpoint in tables.endpoints(name)}
            servers |= known
            statuses |= {500, 503}
    return servers, statuses, places
