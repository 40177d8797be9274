"""Gateway API's header filters of a rule: change the request to the backend, or the response to the client.

In: `requestHeaderModifier` and `responseHeaderModifier`. Out: headers to add and remove on the Envoy route. The
same feature twice, once for each direction. What is removed goes first. `Host` cannot be changed (use a URL rewrite).
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, WeightedCluster
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.headers import (
    APPEND,
    OVERWRITE,
    Headers,
    Names,
    Pairs,
    check_names,
    option,
    pairs,
)
from xds_server.spec import Spec


class HeaderModifierSpec(Spec):
    """Headers to overwrite, to append and to remove, by name without case."""

    set: Headers = ()
    add: Headers = ()
    remove: Names = ()


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """(name, value) pairs to set and to add, and names to remove."""

    set: Pairs
    add: Pairs
    remove: tuple[str, ...]


class _HeaderModifiers(Feature[HeaderModifierSpec, HeaderModifier]):
    def resolve(self, spec: HeaderModifierSpec, context: Context) -> HeaderModifier | None:
        """The changes, or None when there are none or one cannot be made."""
        listed = {"set": tuple(one.name for one in spec.set), "add": tuple(one.name for one in spec.add)}
        listed["remove"] = spec.remove
        if not all(check_names(context, field, names) for field, names in listed.items()):
            return None
        value = HeaderModifier(pairs(spec.set), pairs(spec.add), spec.remove)
        return value if value.set or value.add or value.remove else None

    def fits_share(self, value: HeaderModifier) -> bool:
        """Envoy changes headers of a share, too."""
        return True


class RequestHeaderModifier(_HeaderModifiers):
    """Changes the request to the backend."""

    name = "request_header_modifier"
    carriers = (("HTTPRoute.filter", "requestHeaderModifier"),)

    def route(self, value: HeaderModifier, route: Route) -> None:
        """Headers of the request."""
        _change_request(value, route)

    def share(self, value: HeaderModifier, weight: WeightedCluster.ClusterWeight) -> None:
        """Headers of the requests to one backend."""
        _change_request(value, weight)


class ResponseHeaderModifier(_HeaderModifiers):
    """Changes the response to the client."""

    name = "response_header_modifier"
    carriers = (("HTTPRoute.filter", "responseHeaderModifier"),)

    def route(self, value: HeaderModifier, route: Route) -> None:
        """Headers of the response, also of one that the gateway makes for this route."""
        _change_response(value, route)

    def share(self, value: HeaderModifier, weight: WeightedCluster.ClusterWeight) -> None:
        """Headers of the responses of one backend."""
        _change_response(value, weight)


def _change_request(value: HeaderModifier, place: Route | WeightedCluster.ClusterWeight) -> None:
    place.request_headers_to_remove.extend(value.remove)
    place.request_headers_to_add.extend(option(name, text, OVERWRITE) for name, text in value.set)
    place.request_headers_to_add.extend(option(name, text, APPEND) for name, text in value.add)


def _change_response(value: HeaderModifier, place: Route | WeightedCluster.ClusterWeight) -> None:
    place.response_headers_to_remove.extend(value.remove)
    place.response_headers_to_add.extend(option(name, text, OVERWRITE) for name, text in value.set)
    place.response_headers_to_add.extend(option(name, text, APPEND) for name, text in value.add)


REQUEST_HEADER_MODIFIER = RequestHeaderModifier()
RESPONSE_HEADER_MODIFIER = ResponseHeaderModifier()
