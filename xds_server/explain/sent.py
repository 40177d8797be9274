"""What a route makes of the headers of a request, and of those of its answer.

In: a route, or the share of one destination, and a request. Out: the headers that are sent on, and a list of changes for people.
Values with an operator of Envoy's stand as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValueOption
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, WeightedCluster
from xds_server.explain.request import Request

Place = Route | WeightedCluster.ClusterWeight
_OVERWRITES = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def sent_headers(route: Route, request: Request) -> dict[str, tuple[str, ...]]:
    """The headers that a backend gets, but for those that Envoy itself adds."""
    headers = dict(request.headers)
    for name in route.request_headers_to_remove:
        headers.pop(name.lower(), None)
    for one in route.request_headers_to_add:
        name, value = one.header.key.lower(), _value(one)
        kept = () if one.append_action == _OVERWRITES else headers.get(name, ())
        if not (kept and one.append_action == HeaderValueOption.ADD_IF_ABSENT):
            headers[name] = (*kept, value)
    return headers


def header_changes(place: Place) -> Mapping[str, list[str]]:
    """What is changed, in the order of Envoy: `-NAME`, `NAME=VALUE` (overwritten), `+NAME=VALUE` (added)."""
    return {
        "request": _changes(place.request_headers_to_remove, place.request_headers_to_add),
        "response": _changes(place.response_headers_to_remove, place.response_headers_to_add),
    }


def _changes(removed: Iterable[str], added: Iterable[HeaderValueOption]) -> list[str]:
    return [f"-{name}" for name in removed] + [
        f"{'' if one.append_action == _OVERWRITES else '+'}{one.header.key}={_value(one)}" for one in added
    ]


def _value(one: HeaderValueOption) -> str:
    return one.header.value.replace("%%", "%")
