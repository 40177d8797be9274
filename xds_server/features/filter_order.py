"""Another order of filters: limits, faults and buffers before or after others.

In: `filterOrder` of an EnvoyProxy. Out: the filters of connection managers in that order. What says who is let in stays where
it is, in the order of docs/decisions/0006, and so does what changes headers: elsewhere a door would be open, or an answer
without the headers of its listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from xds_server.features.contract import Context, Feature
from xds_server.spec import Spec

Movable = Literal[
    "envoy.filters.http.bandwidth_limit",
    "envoy.filters.http.buffer",
    "envoy.filters.http.fault",
    "envoy.filters.http.local_ratelimit",
    "envoy.filters.http.ratelimit",
]
Anchor = Literal[
    Movable,
    "envoy.filters.http.api_key_auth",
    "envoy.filters.http.basic_auth",
    "envoy.filters.http.compressor",
    "envoy.filters.http.cors",
    "envoy.filters.http.credential_injector",
    "envoy.filters.http.csrf",
    "envoy.filters.http.custom_response",
    "envoy.filters.http.dynamic_modules",
    "envoy.filters.http.ext_authz",
    "envoy.filters.http.ext_proc",
    "envoy.filters.http.geoip",
    "envoy.filters.http.grpc_web",
    "envoy.filters.http.jwt_authn",
    "envoy.filters.http.lua",
    "envoy.filters.http.oauth2",
    "envoy.filters.http.rbac",
    "envoy.filters.http.stateful_session",
    "envoy.filters.http.wasm",
]
"""Not there: header_mutation and health_check. What is answered before them lacks the headers of its listener."""


class FilterPositionSpec(Spec):
    """One move: `name` goes right before, or right after, another filter."""

    name: Movable
    before: Anchor | None = None
    after: Anchor | None = None


FilterOrderSpec = Annotated[tuple[FilterPositionSpec, ...], Field(min_length=1, max_length=32)]


@dataclass(frozen=True, slots=True)
class Move:
    """A filter, and the one that it goes before (or after)."""

    name: str
    anchor: str
    before: bool


class FilterOrder(Feature[tuple[FilterPositionSpec, ...], tuple[Move, ...]]):
    """`filterOrder` of an EnvoyProxy. It is the last feature: it finds all filters in place."""

    name = "filter_order"
    carriers = (("EnvoyProxy", "filterOrder"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: tuple[FilterPositionSpec, ...], context: Context) -> tuple[Move, ...] | None:
        """The moves, in the order in which they are made."""
        moves: list[Move] = []
        failed = False
        for place, written in enumerate(spec):
            for field, reason in _wrong(written):
                context.problem("F103", place, field, reason=reason)
                failed = True
            anchor = written.before or written.after
            if anchor is not None:
                moves.append(Move(written.name, anchor, written.before is not None))
        return None if failed else tuple(moves)

    def chain(self, value: tuple[Move, ...], manager: HttpConnectionManager) -> None:
        """Filters that are not there are not moved, and nothing moves next to them."""
        filters = list(manager.http_filters)
        for move in value:
            filters = _moved(filters, move)
        del manager.http_filters[:]
        manager.http_filters.extend(filters)


def _wrong(written: FilterPositionSpec) -> Iterator[tuple[str, str]]:
    if (written.before is None) == (written.after is None):
        yield "name", "write one of before and after"
    for field, anchor in (("before", written.before), ("after", written.after)):
        if anchor == written.name:
            yield field, "a filter is not moved next to itself"


def _moved(filters: list[HttpFilter], move: Move) -> list[HttpFilter]:
    own = [one for one in filters if _is(one, move.name)]
    others = [one for one in filters if not _is(one, move.name)]
    anchors = [place for place, one in enumerate(others) if _is(one, move.anchor)]
    if not own or not anchors:
        return filters
    place = anchors[0] if move.before else anchors[-1] + 1
    return [*others[:place], *own, *others[place:]]


def _is(one: HttpFilter, name: str) -> bool:
    """A feature with several filters names them NAME/PART."""
    return one.name == name or one.name.startswith(f"{name}/")


FILTER_ORDER = FilterOrder()
