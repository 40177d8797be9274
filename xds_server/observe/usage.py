"""Who uses what: requests from each cell to each of its dependencies, as its Envoys counted them.

In: what was compiled, the statistics of Envoys of this machine as text, and what others reported. Out: a `Usage` for every
declared dependency, also for those that nobody uses, and how many requests east, south and sidecars refused by themselves.
Counters begin anew with their Envoy; what was reported, with the server.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from xds_server.cells.sections import Exit
from xds_server.compile import Compiled
from xds_server.serve.loads import Load
from xds_server.snapshot.resource import CLUSTER, Snapshot
from xds_server.supervise.envoys import LocalEnvoy
from xds_server.supervise.process import statistics_of

STATS = r"^cluster\.(east|south)\|.*upstream_(rq_[1-5]xx|rq_time|cx_total)$|^http\..*\.rq_direct_response$"
"""The statistics that are asked for."""
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
OK = "ok"
"""The class of what was answered with less than 500, where an Envoy reports no more than that."""
_COUNT = re.compile(r"cluster\.(?P<cluster>.+)\.upstream_(?:rq_(?P<code>[1-5]xx)|(?P<cx>cx_total)): (?P<value>\d+)")
_TIMES = re.compile(r"cluster\.(?P<cluster>.+)\.upstream_rq_time: (?P<buckets>B.+)")
_BUCKET = re.compile(r"B([0-9.e+]+)\(\d+,(\d+)\)")
_REFUSED = re.compile(r"http\.(?!admin\.|async-client\.).+\.rq_direct_response: (?P<value>\d+)")
_KIND = re.compile(r"(/tcp|/tls)?(~.*)?$")


@dataclass(frozen=True, slots=True)
class Dependency:
    """A declared dependency. `provider` and `endpoint` are set for cells, `external` for services on the internet."""

    stage: str
    consumer: str
    name: str
    gateway: str
    provider: str = ""
    endpoint: str = ""
    external: str = ""
    refusal: str = ""

    @property
    def backend(self) -> str:
        """What the names of its clusters begin with."""
        return f"south|{self.external}" if self.external else f"east|{self.provider}.{self.endpoint}"


@dataclass(slots=True)
class Counts:
    """What Envoys counted: requests by class of their answers, connections, and requests by seconds that they took at most."""

    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    seconds: Counter[float] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Usage:
    """A dependency and its counts; None if no Envoy of its gateway is at hand to be asked."""

    dependency: Dependency
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class Report:
    """All dependencies, and by gateway how many requests it refused by itself."""

    usages: tuple[Usage, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)

    def requests_of(self, stage: str, consumer: str, dependency: str) -> int | None:
        """How many requests there were for a dependency; None where nobody counted."""
        wanted = (stage, consumer, dependency)
        found = (counts for one, counts in self.measured() if (one.stage, one.consumer, one.name) == wanted)
        counts = next(found, None)
        return sum(counts.requests.values()) if counts is not None else None

    def measured(self) -> Iterator[tuple[Dependency, Counts]]:
        """Those with counts."""
        return ((one.dependency, one.counts) for one in self.usages if one.counts is not None)


Reported = Mapping[str, Mapping[str, Load]]
"""What Envoys of other machines reported: a load by gateway, or all gateways of a cell, and by cluster."""


async def ask_envoys(compiled: Compiled, local: Iterable[LocalEnvoy], reported: Reported) -> Report:
    """The report as the Envoys of this machine count now. One that does not answer is left out."""
    known = [one for one in local if one.admin]
    texts = await asyncio.gather(*(statistics_of(one.admin, STATS) for one in known))
    answered = {one.gateway: (text,) for one, text in zip(known, texts, strict=True) if text}
    return usage_report(compiled, answered, reported)


def declared(compiled: Compiled) -> Iterator[Dependency]:
    """The dependencies of all bound cells in all stages."""
    for one in compiled.stages:
        for sections in one.cells.values():
            for exit_ in sections.exits:
                if one.plan is not None:
                    gateway = one.plan.gateway(sections.cell.name, exit_.direction)
                    yield _dependency(one.stage, sections.cell.name, gateway, exit_)


def _dependency(stage: str, consumer: str, gateway: str, exit_: Exit) -> Dependency:
    written = exit_.dependency
    known = Dependency(stage, consumer, written.name, gateway, refusal=exit_.refusal)
    if written.external is not None:
        return replace(known, external=written.external)
    endpoint = f"{written.component}.{exit_.endpoint or written.endpoint or 'http'}"
    return replace(known, provider=written.cell or "", endpoint=endpoint)


def usage_report(
    compiled: Compiled, stats: Mapping[str, Iterable[str]], reported: Reported = MappingProxyType({})
) -> Report:
    """The report. `stats` are the texts of a gateway's Envoys, by the gateway's name."""
    counts: dict[str, dict[str, Counts]] = {}
    refused: Counter[str] = Counter()
    for gateway, texts in stats.items():
        snapshot = compiled.snapshots.get(gateway)
        clusters = {name.replace(":", "_"): _KIND.sub("", name) for name in snapshot.get(CLUSTER)} if snapshot else {}
        found: dict[str, Counts] = defaultdict(Counts)
        for text in texts:
            _add(text, clusters, found)
            if gateway.endswith(("/east", "/south")) or "/component/" in gateway:
                refused[gateway] += sum(int(one["value"]) for one in _REFUSED.finditer(text))
        counts[gateway] = found
    for gateway in {one.gateway for one in declared(compiled)}:
        loads = [reported[name] for name in (gateway, gateway.rpartition("/")[0]) if name in reported]
        if loads:
            _add_loads(loads, compiled.snapshots.get(gateway), counts.setdefault(gateway, defaultdict(Counts)))
    usages = tuple(Usage(one, _of(one, counts.get(one.gateway))) for one in declared(compiled))
    return Report(usages, dict(refused))


def _add(text: str, clusters: Mapping[str, str], found: dict[str, Counts]) -> None:
    """Add the counts of one Envoy. Other statistics have names that look alike, so only known clusters count."""
    for line in text.splitlines():
        if (count := _COUNT.fullmatch(line)) and (backend := clusters.get(count["cluster"])):
            if count["cx"]:
                found[backend].connections += int(count["value"])
            else:
                found[backend].requests[count["code"]] += int(count["value"])
        elif (times := _TIMES.fullmatch(line)) and (backend := clusters.get(times["cluster"])):
            for limit, number in _BUCKET.findall(times["buckets"]):
                found[backend].seconds[float(limit) / 1000] += int(number)


def _add_loads(loads: Iterable[Mapping[str, Load]], snapshot: Snapshot | None, found: dict[str, Counts]) -> None:
    """Add what was reported of clusters that a gateway has."""
    clusters = snapshot.get(CLUSTER) if snapshot is not None else {}
    for cluster, load in ((name, one) for each in loads for name, one in each.items() if name in clusters):
        counts = found.setdefault(_KIND.sub("", cluster), Counts())
        counts.requests["5xx"] += load.failed
        counts.requests[OK] += load.requests - load.failed


def _of(dependency: Dependency, found: Mapping[str, Counts] | None) -> Counts | None:
    """The counts of all clusters of a dependency: an external service has one for every host and port."""
    if found is None:
        return None
    total, name = Counts(), dependency.backend
    for backend, one in found.items():
        if backend == name or (dependency.external and backend.startswith(f"{name}|")):
            total.requests += one.requests
            total.connections += one.connections
            total.seconds += one.seconds
    return total


def classes_of(counts: Counts) -> tuple[str, ...]:
    """The classes of answers that there can be."""
    return (*CLASSES, OK) if OK in counts.requests else CLASSES


def usage_view(report: Report, stage: str | None = None) -> dict[str, Any]:
    """The report as JSON: the dependencies as edges from cells to endpoints and services."""
    edges = [_edge(one) for one in report.usages if stage in (None, one.dependency.stage)]
    refused = {gateway: count for gateway, count in report.refused.items() if stage in (None, gateway.split("/")[1])}
    return {"items": edges, "refused": refused}


def _edge(usage: Usage) -> dict[str, Any]:
    one, counts = usage.dependency, usage.counts
    target = {"external": one.external} if one.external else {"provider": one.provider, "endpoint": one.endpoint}
    head = {"stage": one.stage, "consumer": one.consumer, "dependency": one.name, **target}
    if one.refusal:
        head["refused"] = one.refusal
    if counts is None:
        return {**head, "measured": False}
    requests = {name: counts.requests[name] for name in classes_of(counts)}
    total = sum(requests.values())
    return {**head, "measured": True, "requests": total, "byClass": requests, "connections": counts.connections}
