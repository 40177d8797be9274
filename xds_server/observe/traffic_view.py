"""How much goes where now: requests, errors and times by listener, cluster and named route, as local Envoys count.

In: what was compiled, and the statistics of Envoys as text. Out: JSON values with counts since each Envoy started; who wants
rates asks twice. Times are Envoy's percentiles in milliseconds, of its last five seconds where there were requests in them.
"""

from __future__ import annotations

import asyncio
import http.client
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from xds_server.compile import Compiled
from xds_server.graph import Gateway
from xds_server.observe.proxies_view import Fleet
from xds_server.snapshot.resource import CLUSTER, Snapshot
from xds_server.supervise.envoys import LocalEnvoy
from xds_server.supervise.process import ask_admin

Json = dict[str, Any]
STATS = r"^(http|cluster|vhost)\..*\.(downstream|upstream)_rq_([1-5]xx|time)$"
"""The statistics that are asked for."""
_HEADS = {"http": "downstream", "cluster": "upstream", "vhost": "upstream"}
_LINE = re.compile(
    r"(?P<head>http|cluster|vhost)\.(?P<name>.+)\.(?P<side>\w+)_rq_(?P<what>[1-5]xx|time): (?P<value>.+)"
)
_PERCENTILE = re.compile(r"P([0-9.]+)\(([^,]+),([^)]+)\)")
_VHOST = re.compile(r".+\.route\.(.+)")


@dataclass(slots=True)
class _Counts:
    requests: Counter[str] = field(default_factory=Counter)
    times: Mapping[str, float] = field(default_factory=dict)


async def traffic_view(compiled: Compiled, fleet: Fleet) -> list[Json]:
    """An entry for everything that any Envoy of this machine counts. One that does not answer is left out."""
    known = [one for one in fleet.local if one.admin]
    texts = await asyncio.gather(*(_statistics(one) for one in known))
    gateways = {one.name: one for one in compiled.gateways}
    return [
        {"node": envoy.node_id, "gateway": envoy.gateway, **entry}
        for envoy, text in zip(known, texts, strict=True)
        if envoy.gateway in compiled.snapshots
        for entry in traffic_of(text, compiled.snapshots[envoy.gateway], gateways.get(envoy.gateway))
    ]


async def _statistics(envoy: LocalEnvoy) -> str:
    try:
        return await ask_admin(envoy.admin, "GET", f"/stats?filter={quote(STATS)}")
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def traffic_of(text: str, snapshot: Snapshot, gateway: Gateway | None) -> Iterator[Json]:
    """What one Envoy counts of what its gateway is made of; its own errands (xDS, the admin interface) are left out."""
    chains = [chain.name for port in gateway.ports for chain in port.chains] if gateway else []
    names = {("http", one.replace(":", "_")): ("listener", one) for one in chains}
    names |= {("cluster", one.replace(":", "_")): ("cluster", one) for one in snapshot.get(CLUSTER)}
    found: dict[tuple[str, str], _Counts] = {called: _Counts() for called in names.values()}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match["side"] != _HEADS[match["head"]]:
            continue
        called = names.get((match["head"], match["name"]))
        if called is None and match["head"] == "vhost" and (route := _VHOST.fullmatch(match["name"])):
            called = ("route", route.group(1))
        if called is None:
            continue
        counts = found.setdefault(called, _Counts())
        if match["what"] == "time":
            counts.times = percentiles(match["value"])
        else:
            counts.requests[match["what"]] += int(match["value"])
    for (kind, name), counts in found.items():
        yield {
            "kind": kind,
            "name": name,
            "requests": sum(counts.requests.values()),
            "errors": counts.requests["5xx"],
            "p50": counts.times.get("50"),
            "p99": counts.times.get("99"),
        }


def percentiles(text: str) -> dict[str, float]:
    """Milliseconds by percentile of `P50(LAST,ALL) ...`: of the last seconds if there is a number, else of all."""
    found = {}
    for name, last, every in _PERCENTILE.findall(text):
        value = next((float(one) for one in (last, every) if not math.isnan(float(one))), None)
        if value is not None:
            found[name] = value
    return found
