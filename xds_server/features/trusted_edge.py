"""Proxies in front of a gateway (CDN, firewall): only they get in, and what they say of the client counts.

In: the settings that `attach/` reads off a Gateway's annotations. Out: a filter in front of all others that refuses
connections from elsewhere with 403, and how many entries of X-Forwarded-For, from the right, those proxies wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.rbac.v3.rbac_pb2 import RBAC as RULES
from xds_server.envoy_api.envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from xds_server.envoy_api.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.spec import Spec

Network = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TrustedEdge:
    """`proxies` are address ranges (first address, length of prefix): nobody else gets in. `hops` stand in a row."""

    proxies: tuple[Network, ...]
    hops: int = 1


class TrustedEdgeFeature(Feature[Spec, TrustedEdge]):
    """The annotations `cellway.dev/trusted-proxies` and `cellway.dev/trusted-hops` of a Gateway."""

    name = "trusted_edge"
    carriers = ()
    finds_clients = True

    def resolve(self, spec: Spec, context: Context) -> None:
        """Nothing is written in a spec."""

    def chain(self, value: TrustedEdge, manager: HttpConnectionManager) -> None:
        """A filter that is always on, and the trusted hops."""
        manager.xff_num_trusted_hops = value.hops
        rules = RULES(action=RULES.ALLOW)
        if value.proxies:
            policy = Policy(permissions=[Permission(any=True)])
            for first, length in value.proxies:
                principal = Principal()
                principal.direct_remote_ip.address_prefix = first
                principal.direct_remote_ip.prefix_len.value = length
                policy.principals.append(principal)
            rules.policies["trusted-proxies"].CopyFrom(policy)
        config = RBAC(rules=rules, rules_stat_prefix="edge_")
        manager.http_filters.add(name="cellway.trusted-edge", typed_config=pack(config))


TRUSTED_EDGE = TrustedEdgeFeature()
