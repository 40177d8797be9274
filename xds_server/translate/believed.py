"""Chains that believe some connections more than others: those of proxies in front, by their addresses.

In: an HTTP chain and the features. Out: the chain for those connections, and the one for everybody else, in which what
only they may say does not count. Both have the same routes, certificates and statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.features.contract import AnyFeature
from xds_server.features.parts.values import uint32
from xds_server.graph import HttpChain


@dataclass(frozen=True, slots=True)
class Believed:
    """A chain for connections from `networks` (first address, length of prefix); none: from everywhere else."""

    chain: HttpChain
    suffix: str = ""
    networks: tuple[tuple[str, int], ...] = ()

    def mark(self, built: FilterChain) -> FilterChain:
        """The filter chain of this chain, under its own name and for its connections alone."""
        built.name += self.suffix
        for first, length in self.networks:
            built.filter_chain_match.source_prefix_ranges.add(address_prefix=first, prefix_len=uint32(length))
        return built


def by_belief(chain: HttpChain, features: Sequence[AnyFeature]) -> Iterator[Believed]:
    """The chain for those who are believed, if only some are, and the chain for all others."""
    by_name = {feature.name: feature for feature in features}
    bound = {one: by_name[one.feature].believes_only(one.value) for one in chain.settings if one.feature in by_name}
    networks = tuple(dict.fromkeys(network for found in bound.values() for network in found))
    if not networks:
        yield Believed(chain)
        return
    yield Believed(chain, "", networks)
    yield Believed(replace(chain, settings=tuple(one for one in chain.settings if not bound.get(one))), "/others")
