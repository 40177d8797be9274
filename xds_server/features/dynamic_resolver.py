"""Backends that requests name themselves: the host of a request is looked up and connected to.

In: a rule whose backend is a Backend of type DynamicResolver (attachment says which). Out: the filter that looks names up
before the request goes on; the cluster of the backend shares its cache. Addresses inside are refused after the lookup,
unless the Backend allows them: see `parts/name_cache`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.name_cache import FILTER, cache_config, cache_name
from xds_server.spec import Spec


class DynamicResolverSpec(Spec):
    """There is nothing to say about it: the Backend says it."""


@dataclass(frozen=True, slots=True)
class DynamicResolver:
    """Ranges of addresses inside that may be connected to."""

    allowed: tuple[str, ...] = ()


class DynamicResolvers(Feature[DynamicResolverSpec, DynamicResolver]):
    """Every rule to a DynamicResolver has it."""

    name = "dynamic_resolver"
    carriers = ()
    chain_follows_routes = True

    def resolve(self, spec: DynamicResolverSpec, context: Context) -> DynamicResolver:
        """Nothing is allowed."""
        return DynamicResolver()

    def http_filters(self, values: Sequence[DynamicResolver]) -> Sequence[tuple[str, Message]]:
        """A filter for each cache."""
        found = {}
        for value in values:
            config = dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=cache_config(value.allowed))
            found[_name(value)] = config
        return tuple(found.items())

    def route(self, value: DynamicResolver, route: Route) -> None:
        """Switches the filter on."""
        if route.HasField("route"):
            enable(route, _name(value), FilterConfig(config=Any()))


def _name(value: DynamicResolver) -> str:
    return f"{FILTER}/{cache_name(value.allowed)}"


DYNAMIC_RESOLVER = DynamicResolvers()
