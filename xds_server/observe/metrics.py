"""Prometheus metrics in a registry of their own.

In: what happened (a reload, an answer of an Envoy) and, at a scrape, the state of things. Out: the text of
`/metrics`. Labels come from closed sets: gateways, kinds, codes and types, never a node, a stream or a route.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from xds_server.compile import Compiled
from xds_server.diagnostics import Diagnostic
from xds_server.observe.resources_view import short_type
from xds_server.observe.usage import Report, classes_of
from xds_server.reload import Result
from xds_server.serve.records import Serving
from xds_server.serve.revocation import Revocations

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class State:
    """What is read off at a scrape. `proxies` counts Envoys by gateway and state, `streams` by protocol.

    `responses`, `acks` and `nacks` count messages by type URL since the start, `begun_streams` all streams, `refused_streams`
    those that were refused, by the name of the gRPC status, and `unknown` requests with a `type` or a `nonce` that the
    server does not know. `valid` is from when to when certificates are, by name, in seconds since the epoch. `resident` is
    the memory in bytes, of those that serve, too, `limits` of what there may be how much; `tasks` is how much is done at
    the same time. `revocations` are the lists for clients' certificates, if there are any; `processes` those that serve,
    if they are several.
    """

    compiled: Compiled = field(default_factory=Compiled)
    diagnostics: tuple[Diagnostic, ...] = ()
    streams: Mapping[str, int] = field(default_factory=dict)
    proxies: Mapping[tuple[str, str], int] = field(default_factory=dict)
    responses: Mapping[str, int] = field(default_factory=dict)
    acks: Mapping[str, int] = field(default_factory=dict)
    nacks: Mapping[str, int] = field(default_factory=dict)
    begun_streams: int = 0
    refused_streams: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    usage: Report = field(default_factory=Report)
    valid: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    resident: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    tasks: int = 0
    processes: tuple[Serving, ...] = ()
    revocations: Revocations | None = None


class Metrics:
    """All metrics of one server."""

    def __init__(self, version: str, envoy_api: str, state: Callable[[], State]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        build = Gauge("cellway_build_info", "What runs.", ["version", "envoy_api"], registry=self.registry)
        build.labels(version, envoy_api).set(1)
        self._good = Gauge("cellway_config_last_reload_successful", "1 if the last reload was.", registry=self.registry)
        self._when = Gauge(
            "cellway_config_last_reload_success_timestamp_seconds", "When a reload last was.", registry=self.registry
        )
        self._reloads = Counter("cellway_reloads", "Reloads by result.", ["result"], registry=self.registry)
        self._compile = Histogram(
            "cellway_compile_seconds", "How long a stage of a reload took.", ["stage"], registry=self.registry
        )
        self._pushes = _Pushes()
        self._lag = Histogram(
            "cellway_event_loop_lag_seconds",
            "How late the event loop that serves Envoys does what is due.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self._pushes)
        self.registry.register(_StateCollector(state))

    def reloaded(self, result: Result, moment: float) -> None:
        """A reload ended; `moment` is in seconds since the epoch."""
        self._reloads.labels(result).inc()
        self._good.set(result != "rejected")
        if result != "rejected":
            self._when.set(moment)

    def took(self, stage: str, seconds: float) -> None:
        """A stage of a reload took so long."""
        self._compile.labels(stage).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(seconds)

    def acknowledged(self, type_url: str, seconds: float) -> None:
        """A response was acknowledged so long after it was sent."""
        self._pushes.observe(type_url, seconds)

    def text(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self.registry)


class _Pushes:
    """The times from sending to acknowledgement. Each ACK of each stream counts: so this does less than a `Histogram`."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, type_url: str, seconds: float) -> None:
        """One ACK."""
        counts = self._counts.get(type_url)
        if counts is None:
            counts = self._counts[type_url] = [0] * (len(_ACK_BUCKETS) + 1)
            self._sums[type_url] = 0.0
        counts[bisect_left(_ACK_BUCKETS, seconds)] += 1
        self._sums[type_url] += seconds

    def describe(self) -> Iterable[Metric]:
        """The one metric, without numbers."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """The one metric."""
        family = self._family()
        for type_url, counts in self._counts.items():
            names = (*(str(float(bound)) for bound in _ACK_BUCKETS), "+Inf")
            buckets = [(name, float(number)) for name, number in zip(names, accumulate(counts), strict=True)]
            family.add_metric([short_type(type_url)], buckets, self._sums[type_url])
        yield family

    @staticmethod
    def _family() -> HistogramMetricFamily:
        return HistogramMetricFamily("cellway_push_ack_seconds", "From sending to acknowledgement.", labels=["type"])


class _StateCollector:
    """Metrics that are read off the state when they are asked for."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing: the state is not to be asked for at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        state = self._state()
        yield from _messages(state)
        yield from _usage(state.usage)
        kinds = Tally((item.key.kind,) for item in state.compiled.objects)
        yield _gauge("cellway_documents", "Objects by kind.", ["kind"], kinds.items())
        found = Tally((str(one.severity), one.code) for one in state.diagnostics)
        yield _gauge("cellway_diagnostics", "Findings.", ["severity", "code"], found.items())
        resources = {
            (name, short_type(type_url)): len(named)
            for name, snapshot in state.compiled.snapshots.items()
            for type_url, named in snapshot.resources.items()
        }
        yield _gauge("cellway_resources", "Envoy resources.", ["gateway", "type"], resources.items())
        streams = {(protocol,): state.streams.get(protocol, 0) for protocol in ("sotw", "delta")}
        yield _gauge("cellway_streams", "Open xDS streams.", ["protocol"], streams.items())
        yield _gauge("cellway_tasks", "Tasks of the event loop.", [], [((), state.tasks)])
        yield _gauge("cellway_memory_bytes", "Resident memory.", [], [((), state.resident)])
        most = {(what,): limit for what, limit in state.limits.items()}
        yield _gauge("cellway_memory_limit_bytes", "How much there may be of what.", ["what"], most.items())
        yield _gauge("cellway_proxies", "Envoys by state.", ["gateway", "state"], state.proxies.items())
        expiry = {(name,): end for name, (_, end) in state.valid.items()}
        yield _gauge(
            "cellway_certificate_expiry_timestamp_seconds", "When a certificate ends.", ["name"], expiry.items()
        )
        if state.processes:
            yield from _processes(state.processes)
        if state.revocations is not None:
            yield from _revocations(state.revocations)


def _processes(processes: tuple[Serving, ...]) -> Iterator[Metric]:
    good = sum(not one.problem for one in processes)
    yield _gauge("cellway_serving_processes", "Processes that serve Envoys.", [], [((), good)])
    starts = CounterMetricFamily("cellway_serving_process_starts", "Starts of such processes.")
    starts.add_metric([], sum(one.starts for one in processes))
    yield starts


def _revocations(known: Revocations) -> Iterator[Metric]:
    due = {(issuer,): ends for issuer, ends in known.lists.ends.items()}
    text = "When the next revocation list is due."
    yield _gauge("cellway_revocation_list_due_timestamp_seconds", text, ["issuer"], due.items())
    text = "1 if the revocation lists on disk are those that count."
    yield _gauge("cellway_revocation_lists_good", text, [], [((), not known.problem)])


def _messages(state: State) -> Iterator[Metric]:
    counted = {
        "cellway_responses": ("Responses sent.", state.responses),
        "cellway_acks": ("Responses acknowledged.", state.acks),
        "cellway_nacks": ("Responses refused.", state.nacks),
    }
    for name, (text, counts) in counted.items():
        family = CounterMetricFamily(name, text, labels=["type"])
        for type_url, count in sorted(counts.items()):
            family.add_metric([short_type(type_url)], count)
        yield family
    yield CounterMetricFamily(
        "cellway_begun_streams", "Streams that came, and were served or refused.", state.begun_streams
    )
    refused = CounterMetricFamily("cellway_refused_streams", "Streams refused.", labels=["code"])
    for code, count in sorted(state.refused_streams.items()):
        refused.add_metric([code], count)
    unknown = CounterMetricFamily("cellway_unknown_requests", "Requests that make no sense.", labels=["what"])
    for what, count in sorted(state.unknown.items()):
        unknown.add_metric([what], count)
    yield refused
    yield unknown


def _usage(report: Report) -> Iterator[Metric]:
    """Requests between cells and to external services; what is declared and never used is there with 0."""
    head = ["stage", "consumer"]
    cells = CounterMetricFamily(
        "cellway_cell_requests", "Requests to endpoints of other cells.", labels=[*head, "provider", "endpoint", "code"]
    )
    external = CounterMetricFamily(
        "cellway_external_requests", "Requests to external services.", labels=[*head, "external", "code"]
    )
    connections = CounterMetricFamily(
        "cellway_external_connections", "Connections to external services.", labels=[*head, "external"]
    )
    times = HistogramMetricFamily(
        "cellway_external_seconds", "How long external services took to answer.", labels=[*head, "external"]
    )
    # Two dependencies of a cell may lead to one place; what is counted is the place.
    places = {(one.stage, one.consumer, one.backend): (one, counts) for one, counts in report.measured()}
    for one, counts in places.values():
        start = [one.stage, one.consumer]
        for code in classes_of(counts):
            if one.external:
                external.add_metric([*start, one.external, code], counts.requests[code])
            else:
                cells.add_metric([*start, one.provider, one.endpoint, code], counts.requests[code])
        if one.external:
            connections.add_metric([*start, one.external], counts.connections)
            buckets = [(str(limit), float(number)) for limit, number in sorted(counts.seconds.items())]
            most = buckets[-1][1] if buckets else 0.0
            times.add_metric([*start, one.external], [*buckets, ("+Inf", most)], None)
    refused = CounterMetricFamily(
        "cellway_refused_requests", "Requests that a gateway out of a cell refused.", labels=["gateway"]
    )
    for gateway, count in sorted(report.refused.items()):
        refused.add_metric([gateway], count)
    yield from (cells, external, connections, times, refused)


def _gauge(
    name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values):
        family.add_metric(list(key), value)
    return family


def validities(compiled: Compiled) -> dict[str, tuple[float, float]]:
    """From when to when each certificate's chain is valid, in seconds since the epoch: all of its certificates are."""
    chains = {
        certificate.name: x509.load_pem_x509_certificates(certificate.chain)
        for gateway in compiled.gateways
        for port in gateway.ports
        for chain in port.chains
        for certificate in chain.certificates
    }
    return {
        name: (
            max(one.not_valid_before_utc.timestamp() for one in chain),
            min(one.not_valid_after_utc.timestamp() for one in chain),
        )
        for name, chain in chains.items()
    }
