"""Which kind of addresses the Envoys of a Gateway use, where nothing nearer says it.

In: `ipFamily` of an EnvoyProxy. Out: which addresses names of backends lead to; `dns.lookupFamily` of a BackendTrafficPolicy
comes before it. Where a Gateway without addresses listens follows from it in `attach/proxies.py`.
"""

from __future__ import annotations

from typing import Literal

from xds_server.envoy_api.envoy.extensions.clusters.common.dns.v3 import dns_pb2
from xds_server.envoy_api.envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from xds_server.features.contract import ClusterParts, Context, Feature, pack

Family = Literal["IPv4", "IPv6", "DualStack"]
_LOOKUPS = {"IPv4": dns_pb2.V4_ONLY, "IPv6": dns_pb2.V6_ONLY, "DualStack": dns_pb2.ALL}


class IpFamily(Feature[Family, Family]):
    """`ipFamily` of an EnvoyProxy."""

    name = "ip_family"
    carriers = (("EnvoyProxy", "ipFamily"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: Family, context: Context) -> Family:
        """What is written."""
        return spec

    def touches_cluster(self, value: Family) -> bool:
        """Names belong to clusters."""
        return True

    def cluster(self, value: Family, parts: ClusterParts) -> None:
        """Changes a cluster that is found by DNS."""
        packed = parts.cluster.cluster_type.typed_config
        lookups = DnsCluster()
        if packed.Unpack(lookups):
            lookups.dns_lookup_family = _LOOKUPS[value]
            packed.CopyFrom(pack(lookups))


IP_FAMILY = IpFamily()
