"""Addresses inside: names of backends that lead to them are refused.

In: `denyPrivateAddresses` of a BackendTrafficPolicy (Cellway's own field). Out: a filter of the route's clusters that looks
at the address which was picked, before anything is connected: what a name leads to now, not what it led to once.
Loopback, private and shared networks, link-local (cloud metadata), multicast and reserved addresses are refused with 403,
IPv4 and IPv6, and also where IPv6 carries an IPv4 address.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.rbac.v3 import rbac_pb2
from xds_server.envoy_api.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from xds_server.envoy_api.envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from xds_server.envoy_api.envoy.extensions.rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher_pb2 import (
    UpstreamIpPortMatcher,
)
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.inside import INSIDE
from xds_server.features.parts.values import uint32


@dataclass(frozen=True, slots=True)
class PrivateAddresses:
    """There is nothing to say but that it is so."""


class PrivateAddressesFeature(Feature[bool, PrivateAddresses]):
    """`denyPrivateAddresses` of a BackendTrafficPolicy."""

    name = "private_addresses"
    carriers = (("BackendTrafficPolicy", "denyPrivateAddresses"),)
    guards = True

    def resolve(self, spec: bool, context: Context) -> PrivateAddresses | None:
        """Nothing can be wrong; False is as if it were not there."""
        return PrivateAddresses() if spec else None

    def touches_cluster(self, value: PrivateAddresses) -> bool:
        """Addresses belong to clusters."""
        return True

    def cluster(self, value: PrivateAddresses, parts: ClusterParts) -> None:
        """Two filters: one that refuses, and the one that sends, without which Envoy takes no others."""
        rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY)
        private = rules.policies["private-address"]
        private.principals.add(any=True)
        for text in INSIDE:
            first, _, length = text.partition("/")
            matcher = UpstreamIpPortMatcher()
            matcher.upstream_ip.address_prefix = first
            matcher.upstream_ip.prefix_len.CopyFrom(uint32(int(length)))
            extension = TypedExtensionConfig(name="envoy.rbac.matchers.upstream_ip_port", typed_config=pack(matcher))
            private.permissions.add(matcher=extension)
        filters = parts.http.http_filters
        if not filters:  # another feature may have put one before it
            filters.add(name="envoy.filters.http.upstream_codec", typed_config=pack(UpstreamCodec()))
        refuse = type(filters[0])(name="envoy.filters.http.upstream_rbac", typed_config=pack(RBAC(rules=rules)))
        filters.insert(0, refuse)


PRIVATE_ADDRESSES = PrivateAddressesFeature()
