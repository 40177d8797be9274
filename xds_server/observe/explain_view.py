"""The way of a request as JSON, with the documents behind every step.

In: what was compiled, and a question. Out: an answer for every gateway that would take the request; where one leads to
another, the answer of that is inside. Nothing of a policy's values is in it but what a route does: times, retries, weights,
limits. No secret can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from xds_server.cells.sections import logical_names
from xds_server.compile import Compiled
from xds_server.envoy_api.envoy.config.route.v3 import route_components_pb2 as components
from xds_server.explain.request import Request
from xds_server.explain.sent import header_changes, sent_headers
from xds_server.explain.tables import Tables, read_tables
from xds_server.explain.urls import location, sent_host, sent_path
from xds_server.explain.verdict import Verdict
from xds_server.explain.walk import MILLION, Answer, Share, explain
from xds_server.features import FEATURES
from xds_server.graph import Forward, Gateway, Route, Setting
from xds_server.observe.hops import identity, listeners_by_address
from xds_server.observe.senders import Sender, door_of, doors_out, read_sender
from xds_server.types import Origin

Json = dict[str, Any]
_CODES = dict(enumerate((301, 302, 303, 307, 308)))
"""Of the redirect codes of Envoy's API, in their order."""
_MOST_HOPS = 6


@dataclass(frozen=True, slots=True)
class Question:
    """A request; `gateway` and `stage` narrow down who is asked, `sender` says who asks."""

    request: Request
    gateway: str | None = None
    sender: str = ""
    stage: str | None = None


def explain_view(compiled: Compiled, question: Question) -> list[Json]:
    """What every gateway (or this one) does with the request. Those that a client could not mean are left out.

    NotARequestError if the sender or the stage is not known.
    """
    sender = read_sender(question.sender, compiled, question.stage)
    request = replace(question.request, source=sender.source, peer=sender.peer)
    view = _View(compiled)
    if sender.cell:
        door = door_of(sender, request.host, compiled)
        name, reason = door.gateway, door.reason
        if question.gateway not in (None, name):
            reason = f"{question.gateway} is not where cell {sender.cell} asks for {request.host}: {name or reason}"
        return [_nobody(reason)] if reason else view.at(name, request, port=door.port)
    stages = {one.stage for one in compiled.stages if question.stage in (None, one.stage)}
    names = [one.name for one in compiled.gateways_of(stages)]
    if question.gateway is not None:
        return view.at(question.gateway, request)
    inside = doors_out(compiled)
    found = [(name, one) for name in names for one in view.at(name, request)]
    # What a component did not declare is refused at every door: that answers no question.
    return [one for name, one in found if name not in inside or one["virtualHost"] not in ("", "*")]


def is_served(answers: Iterable[Json]) -> bool:
    """Whether a route or a listener takes the request somewhere, and no gateway on its way surely refuses it."""
    return any(_goes(one) for one in answers)


def _goes(answer: Json) -> bool:
    if answer["refusal"]:
        return False
    return not answer["routes"] or any(_passes(one) for one in answer["routes"])


def _passes(route: Json) -> bool:
    if (route["answered"] or 0) >= 400:
        return False
    behind = [one for cluster in route.get("forwards", {}).get("clusters", ()) for one in cluster.get("next", ())]
    return not behind or any(_goes(one) for one in behind)


def _nobody(reason: str) -> Json:
    return _head("", Answer("", refusal=reason))


def _head(gateway: str, answer: Answer) -> Json:
    return {
        "gateway": gateway,
        "listener": answer.listener,
        "filterChain": answer.chain,
        "routeTable": answer.table,
        "virtualHost": answer.host,
        "path": answer.request.path if answer.request else "",
        "tried": [],
        "filters": list(answer.filters),
        "routes": [],
        "clusters": [],
        "onward": [],
        "refusal": answer.refusal,
        "status": answer.status,
    }


@dataclass
class _View:
    """Answers of the gateways of one compilation. What was opened is kept as long as one question is answered."""

    compiled: Compiled

    @cached_property
    def _gateways(self) -> dict[str, Gateway]:
        return {one.name: one for one in self.compiled.gateways}

    @cached_property
    def _by_address(self) -> dict[str, str]:
        return listeners_by_address(self.compiled.gateways)

    @cached_property
    def _opened(self) -> dict[str, Tables]:
        return {}

    def at(self, name: str, request: Request, hops: int = 0, port: int | None = None) -> list[Json]:
        """What one gateway does with a request, at each of its listeners that a client could mean, or of this port."""
        if name not in self._gateways or name not in self.compiled.snapshots:
            return []
        tables = self._opened.setdefault(name, read_tables(self.compiled.snapshots[name]))
        ports = (one.address.socket_address.port_value for one in tables.listeners)
        meant = [one for one, number in zip(tables.listeners, ports, strict=True) if port in (None, number)]
        asked = replace(tables, listeners=tuple(meant))
        return [self._answer(name, one, tables, hops) for one in explain(asked, request)]

    def _answer(self, name: str, answer: Answer, tables: Tables, hops: int) -> Json:
        gateway = self._gateways[name]
        known, seen = _routes_of(gateway), answer.request
        tried = [
            {"route": one.route, "reason": one.reason, "madeBy": _made_by(known.get(one.route))} for one in answer.tried
        ]
        routes = [_share(one, seen, tables, known) for one in answer.shares if seen]
        for one, share in zip(routes, answer.shares, strict=False):
            for cluster in one.get("forwards", {}).get("clusters", ()) if not share.refusal else ():
                if seen and hops < _MOST_HOPS:
                    cluster["next"] = self._next(gateway, cluster, share.route, seen, hops)
        clusters = [_cluster(one, 1, tables) for one in answer.clusters]
        goes = any("forwards" in one and one["answered"] is None for one in routes)
        onward = self._onward(name, seen, hops) if seen and goes else []
        found = {"tried": tried, "routes": routes, "clusters": clusters, "onward": onward}
        return {**_head(name, answer), **found}

    def _next(self, gateway: Gateway, cluster: Json, route: components.Route, seen: Request, hops: int) -> list[Json]:
        """What the gateways behind a cluster do, if those are what its endpoints are."""
        found: list[Json] = []
        for endpoint in cluster["endpoints"]:
            name = self._by_address.get(endpoint)
            if name is None or name == gateway.name:
                continue
            written = _routes_of(gateway).get(route.name)
            action = written.action if written else None
            backends = [one.backend for one in action.destinations] if isinstance(action, Forward) else []
            tls = next((one.tls for one in backends if one and one.tls and cluster["name"].startswith(one.name)), None)
            host = sent_host(route, seen) or (tls.sni if tls else "") or endpoint
            sent = replace(
                seen,
                scheme="https" if tls else "http",
                host=host.partition(":")[0],
                port=None,
                path=sent_path(route, seen),
                headers=sent_headers(route, seen),
                source="",
                peer=identity((tls.client if tls else None) or gateway.client) if tls else "",
                server_name=tls.sni if tls else "",
            )
            found += self.at(name, sent, hops + 1, int(endpoint.rpartition(":")[2]))
        return found

    def _onward(self, name: str, seen: Request, hops: int) -> list[Json]:
        """Where the components behind a door of a cell may call from there; for a first step that comes from outside."""
        home = next(
            ((key, one) for one in self.compiled.stages for key, (own, _) in one.gateways.items() if own == name), None
        )
        if hops or home is None or not home[0].name.endswith("-north"):
            return []
        cell, lowered = home[0].namespace, home[1]
        found = []
        for one in lowered.cells[cell].exits:
            if one.direction != "east" or one.provider is None or one.dependency.component is None:
                continue
            host = logical_names(one.provider, one.dependency.component, one.endpoint, lowered.domain)[-1]
            sent = replace(seen, scheme="http", host=host, port=None, path="/", headers={}, source="", peer="")
            users = [name for name in lowered.cells[cell].cell.sidecars if name in (one.dependency.from_ or (name,))]
            sender = Sender(cell=cell, stage=lowered.stage, component=next(iter(users), ""))
            door = door_of(sender, host, self.compiled)
            answers = self.at(door.gateway, sent, hops + 1, door.port) if door.gateway else [_nobody(door.reason)]
            found.append({"dependency": one.dependency.name, "host": host, "answers": answers})
        return found


def _routes_of(gateway: Gateway) -> dict[str, Route]:
    """The routes of the graph by name; those of several hosts are of one rule."""
    chains = (chain for port in gateway.ports for chain in port.http_chains)
    return {route.name: route for chain in chains for host in chain.hosts for route in host.routes}


def _share(share: Share, request: Request, tables: Tables, known: Mapping[str, Route]) -> Json:
    route, written = share.route, known.get(share.route.name)
    return {
        "route": route.name,
        "percent": 100 * share.parts / MILLION,
        "madeBy": _made_by(written),
        **_action(route, request, tables),
        "headers": header_changes(route),
        "settings": _settings(route, written),
        "decisions": [_decision(one, written) for one in share.verdicts if one.decision != "passes" or one.says],
        "answered": share.refusal.status if share.refusal else None,
    }


def _decision(verdict: Verdict, written: Route | None) -> Json:
    setting = _setting_of(verdict.filter, written)
    return {
        "filter": verdict.filter,
        "feature": setting.feature if setting else "",
        "decision": verdict.decision,
        "status": verdict.status,
        "says": verdict.says,
        "madeBy": [_place(one) for one in setting.origins] if setting else [],
    }


def _setting_of(name: str, written: Route | None) -> Setting | None:
    """The setting that a filter works for."""
    by_name = {one.name: one for one in FEATURES}
    for setting in written.settings if written else ():
        feature = by_name[setting.feature]
        if feature.filter_name == name or name in [one for one, _ in feature.http_filters((setting.value,))]:
            return setting
    return None


def _action(route: components.Route, request: Request, tables: Tables) -> Json:
    if route.HasField("direct_response"):
        return {"responds": {"status": route.direct_response.status}}
    if route.HasField("redirect"):
        status = _CODES[route.redirect.response_code]
        return {"redirects": {"status": status, "location": location(route, request)}}
    action = route.route
    weighted = [one for one in action.weighted_clusters.clusters if one.weight.value]
    clusters = [{**_cluster(one.name, one.weight.value, tables), "headers": header_changes(one)} for one in weighted]
    return {
        "forwards": {
            "clusters": clusters or ([_cluster(action.cluster, 1, tables)] if action.cluster else []),
            "mirrors": [one.cluster for one in action.request_mirror_policies],
            "host": sent_host(route, request),
            "path": sent_path(route, request),
            "timeout": _seconds(action, "timeout"),
            "idleTimeout": _seconds(action, "idle_timeout"),
            "retries": action.retry_policy.num_retries.value if action.HasField("retry_policy") else 0,
            "retryOn": action.retry_policy.retry_on,
        }
    }


def _seconds(action: components.RouteAction, field: str) -> float | None:
    """Seconds of a time limit; None where the route sets none."""
    if not action.HasField(field):
        return None
    limit = getattr(action, field)
    return float(limit.seconds + limit.nanos / 1e9)


def _cluster(name: str, weight: int, tables: Tables) -> Json:
    return {"name": name, "weight": weight, "endpoints": list(tables.endpoints(name))}


def _settings(route: components.Route, written: Route | None) -> list[Json]:
    """What policies and filters do on a route, in the order in which they see a request, and who asked for it."""
    found = []
    for feature in FEATURES:
        for setting in written.settings if written else ():
            if setting.feature == feature.name:
                asks = feature.filter_name in route.typed_per_filter_config if feature.filter_name else False
                own = {"feature": feature.name, "filter": feature.filter_name if asks else ""}
                found.append({**own, "madeBy": [_place(one) for one in setting.origins]})
    return found


def _made_by(route: Route | None) -> list[Json]:
    return [_place(one) for one in route.origins] if route else []


def _place(origin: Origin) -> Json:
    return {"object": str(origin.key), "file": origin.span.file, "line": origin.span.line}
