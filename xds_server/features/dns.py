"""How the names of backends become addresses.

In: `dns` of a BackendTrafficPolicy. Out: settings of those of the route's clusters that Envoy finds by DNS; backends with
IP addresses have no names to look up. Without a policy: every 30s or as records say, IPv4 before IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.envoy_api.envoy.extensions.clusters.common.dns.v3 import dns_pb2
from xds_server.envoy_api.envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.name_cache import looks_up
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Bool, Duration, Spec

_SHORTEST = 0.002
_FAMILIES = {
    "IPv4": dns_pb2.V4_ONLY,
    "IPv6": dns_pb2.V6_ONLY,
    "IPv4Preferred": dns_pb2.V4_PREFERRED,
    "IPv6Preferred": dns_pb2.AUTO,
    "IPv4AndIPv6": dns_pb2.ALL,
}


class DnsSpec(Spec):
    """How often names are looked up, and which addresses count."""

    dns_refresh_rate: Duration | None = None
    respect_dns_ttl: Bool | None = None
    lookup_family: Literal["IPv4", "IPv6", "IPv4Preferred", "IPv6Preferred", "IPv4AndIPv6"] | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """`refresh` in seconds; None leaves the default."""

    refresh: float | None
    respect_ttl: bool | None
    family: str | None


class NameLookups(Feature[DnsSpec, Dns]):
    """`dns` of a BackendTrafficPolicy."""

    name = "dns"
    carriers = (("BackendTrafficPolicy", "dns"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: DnsSpec, context: Context) -> Dns | None:
        """The settings, or None for a rate that nobody can keep."""
        refresh = seconds(spec.dns_refresh_rate)
        if refresh is not None and refresh < _SHORTEST:
            context.problem("F103", "dnsRefreshRate", reason="dnsRefreshRate must be at least 2ms")
            return None
        return Dns(refresh, spec.respect_dns_ttl, spec.lookup_family)

    def touches_cluster(self, value: Dns) -> bool:
        """Names belong to clusters."""
        return True

    def cluster_problem(self, value: Dns, parts: ClusterParts) -> str:
        """The names that requests bring are looked up by rules of their own."""
        return "dns does nothing for a DynamicResolver" if looks_up(parts.cluster) else ""

    def cluster(self, value: Dns, parts: ClusterParts) -> None:
        """Changes a cluster that is found by DNS."""
        packed = parts.cluster.cluster_type.typed_config
        lookups = DnsCluster()
        if not packed.Unpack(lookups):
            return
        if value.refresh is not None:
            lookups.dns_refresh_rate.CopyFrom(duration(value.refresh))
        if value.respect_ttl is not None:
            lookups.respect_dns_ttl = value.respect_ttl
        if value.family is not None:
            lookups.dns_lookup_family = _FAMILIES[value.family]
        packed.CopyFrom(pack(lookups))


DNS = NameLookups()
