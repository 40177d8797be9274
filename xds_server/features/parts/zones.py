"""Which zones of a backend get requests, and how many, as users write it.

In: `zoneAware` of a `loadBalancer`. Out: its meaning, Envoy's settings for it, and priorities and weights of zones. There
are five ways, of which one may be given: fixed weights, an order in which zones stand in for each other, a table of
costs, the zone that the Envoy itself is in, and the load that endpoints report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from google.protobuf.wrappers_pb2 import UInt64Value
from pydantic import Field

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import LoadBalancingPolicy
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.common.v3.common_pb2 import LocalityLbConfig
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.load_aware_locality.v3.load_aware_locality_pb2 import (
    LoadAwareLocality,
)
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Duration, Spec, Text, UInt32

_MOST_OF_ALL_ZONES = 4_000_000_000
_FINEST_SHARE = 1_000_000
_SHORTEST_UPDATE = 0.1
ZoneName = Annotated[Text, Field(min_length=1)]
Cost = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]


class WeightedZoneSpec(Spec):
    """A zone's part of the requests, relative to the others."""

    zone: ZoneName
    weight: UInt32


class ForceSpec(Spec):
    """So many endpoints the zone must have."""

    min_endpoints_in_zone_threshold: UInt32 = 1


class PreferLocalSpec(Spec):
    """Stay in the Envoy's own zone while it has endpoints."""

    force: ForceSpec | None = None
    min_endpoints_threshold: UInt32 | None = None
    percentage_enabled: Percent | None = None


class ZoneGroupSpec(Spec):
    """Zones that are equally good."""

    zones: Annotated[tuple[ZoneName, ...], Field(min_length=1, max_length=64)]


class ZoneCostSpec(Spec):
    """What a request to a zone costs, in any unit."""

    zone: ZoneName
    cost: Cost


class CostTableSpec(Spec):
    """What zones cost. `CheapestFirst`: dearer ones stand in; `Proportional`: at half the price twice the requests."""

    strategy: Literal["CheapestFirst", "Proportional"] = "CheapestFirst"
    zones: Annotated[tuple[ZoneCostSpec, ...], Field(min_length=1, max_length=64)]


class LoadAwareSpec(Spec):
    """Zones get requests by the headroom that their endpoints report (ORCA)."""

    update_period: Duration = "1s"
    smoothing: Duration = "5s"
    probe_percent: Annotated[int, Field(strict=True, ge=0, le=99)] = 3


class ZoneAwareSpec(Spec):
    """Which zones get how much. `failover`, `costs` and `loadAware` are Cellway's own."""

    prefer_local: PreferLocalSpec | None = None
    weighted_zones: Annotated[tuple[WeightedZoneSpec, ...], Field(max_length=64)] = ()
    failover: Annotated[tuple[ZoneGroupSpec, ...], Field(max_length=32)] = ()
    costs: CostTableSpec | None = None
    load_aware: LoadAwareSpec | None = None


@dataclass(frozen=True, slots=True)
class PreferLocal:
    """Numbers of endpoints, and a percentage; None leaves what Envoy does by default."""

    in_zone: int
    in_all: int | None
    percent: int | None


@dataclass(frozen=True, slots=True)
class LoadAware:
    """Seconds, and a percentage."""

    update: float
    smoothing: float
    probe: int


@dataclass(frozen=True, slots=True)
class Zones:
    """`weights` and `ranks` by zone; those not listed have `other_weight`, and come after all ranks."""

    weights: tuple[tuple[str, int], ...] = ()
    other_weight: int = 1
    ranks: tuple[tuple[str, int], ...] = ()
    local: PreferLocal | None = None
    by_load: LoadAware | None = None


def zones_misfit(spec: ZoneAwareSpec, kind: str) -> str:
    """What does not fit together, or to a kind of balancing; empty if all does."""
    ways = {
        "preferLocal": spec.prefer_local is not None,
        "weightedZones": bool(spec.weighted_zones),
        "failover": bool(spec.failover),
        "costs": spec.costs is not None,
        "loadAware": spec.load_aware is not None,
    }
    given = [name for name, there in ways.items() if there]
    if len(given) > 1:
        return f"zoneAware takes one way to choose zones, not both {given[0]} and {given[1]}"
    if kind in ("ConsistentHash", "BackendUtilization") and spec.prefer_local is not None:
        return f"preferLocal does not go with type {kind}"
    if kind == "ConsistentHash" and spec.load_aware is not None:
        return "loadAware does not go with type ConsistentHash: a client would change its endpoint"
    named = [one.zone for one in spec.weighted_zones] + [zone for group in spec.failover for zone in group.zones]
    named += [one.zone for one in spec.costs.zones] if spec.costs else []
    if len(set(named)) < len(named):
        return f"zone '{next(one for one in named if named.count(one) > 1)}' is there twice in {given[0]}"
    if sum(one.weight for one in spec.weighted_zones) > _MOST_OF_ALL_ZONES:
        return f"the weights of all zones add up to more than {_MOST_OF_ALL_ZONES}"
    if spec.load_aware and (seconds(spec.load_aware.update_period) or 0) < _SHORTEST_UPDATE:
        return "updatePeriod of loadAware must be at least 100ms"
    return "smoothing of loadAware must be longer than 0s" if _unsmooth(spec.load_aware) else ""


def _unsmooth(spec: LoadAwareSpec | None) -> bool:
    return spec is not None and not seconds(spec.smoothing)


def resolve_zones(spec: ZoneAwareSpec) -> Zones | None:
    """What a fitting spec means; None if nothing."""
    if spec.prefer_local is not None:
        written = spec.prefer_local
        in_zone = written.force.min_endpoints_in_zone_threshold if written.force else 1
        return Zones(local=PreferLocal(in_zone, written.min_endpoints_threshold, written.percentage_enabled))
    if spec.weighted_zones:
        return Zones(weights=tuple((one.zone, one.weight) for one in spec.weighted_zones))
    if spec.failover:
        ranks = ((zone, rank) for rank, group in enumerate(spec.failover) for zone in group.zones)
        return Zones(ranks=tuple(ranks))
    if spec.load_aware is not None:
        by_load = spec.load_aware
        update, smoothing = seconds(by_load.update_period) or 0.0, seconds(by_load.smoothing) or 0.0
        return Zones(by_load=LoadAware(update, smoothing, by_load.probe_percent))
    return _by_cost(spec.costs) if spec.costs else None


def _by_cost(spec: CostTableSpec) -> Zones:
    """Cheap zones come first, or get more. One that is not listed is as dear as the dearest, or comes after it."""
    costs = sorted({one.cost for one in spec.zones})
    if spec.strategy == "CheapestFirst":
        return Zones(ranks=tuple((one.zone, costs.index(one.cost)) for one in spec.zones))
    share = {cost: max(1, round(_FINEST_SHARE * costs[0] / cost)) for cost in costs}
    return Zones(tuple((one.zone, share[one.cost]) for one in spec.zones), share[costs[-1]])


def locality_config(value: Zones | None) -> LocalityLbConfig | None:
    """What a policy that chooses endpoints is told of zones."""
    if value is None or not (value.weights or value.local):
        return None
    config = LocalityLbConfig()
    if value.weights:
        config.locality_weighted_lb_config.SetInParent()
    if value.local is not None:
        # One Envoy does not know how many there are in which zone, so it cannot divide in proportion: it stays.
        aware = config.zone_aware_lb_config
        aware.force_local_zone.min_size.CopyFrom(uint32(value.local.in_zone))
        if value.local.in_all is not None:
            aware.min_cluster_size.CopyFrom(UInt64Value(value=value.local.in_all))
        if value.local.percent is not None:
            aware.routing_enabled.value = value.local.percent
    return config


def load_aware(value: LoadAware, picking: LoadBalancingPolicy) -> LoadAwareLocality:
    """The policy that chooses a zone by load, and leaves the endpoint to another one."""
    config = LoadAwareLocality(
        endpoint_picking_policy=picking,
        weight_update_period=duration(value.update),
        smoothing_time_constant=duration(value.smoothing),
    )
    config.remote_probe_fraction.value = value.probe / 100
    return config


def set_zones(value: Zones | None, assignment: ClusterLoadAssignment) -> None:
    """The weights of zones (none for a weight of 0), and their places behind each other. Priorities have no gaps."""
    if value is None:
        return
    weights, ranks = dict(value.weights), dict(value.ranks)
    last = max(ranks.values(), default=0) + 1
    if ranks:
        places = [(one.priority, ranks.get(one.locality.zone, last)) for one in assignment.endpoints]
        order = {place: number for number, place in enumerate(sorted(set(places)))}
        for locality, place in zip(assignment.endpoints, places, strict=True):
            locality.priority = order[place]
    for locality in assignment.endpoints if weights else ():
        weight = weights.get(locality.locality.zone, value.other_weight)
        if weight:
            locality.load_balancing_weight.CopyFrom(uint32(weight))
