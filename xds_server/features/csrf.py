"""Cross-site request forgery: requests that change something must come from the site itself.

In: `csrf` of a SecurityPolicy. Out: Envoy's csrf filter. POST, PUT, DELETE and PATCH need an `Origin` (or a `Referer`)
whose host and port are those of the request, or of `additionalOrigins`; others are answered with 403. Envoy compares
hosts and ports and no schemes, so `http://` and `https://` before an origin mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.csrf.v3.csrf_pb2 import CsrfPolicy
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.features.contract import Context, Feature, enable
from xds_server.spec import Fraction, Spec, Text

_ALL = 1_000_000
_ORIGIN = re.compile(r"(?:https?://)?(\*(?=\.))?((?:[a-z0-9_-]+|(?<=\*)\.[a-z0-9_-]+)(?:\.[a-z0-9_-]+)*(?::\d{1,5})?)")


class CsrfSpec(Spec):
    """Origins beside the request's own host, and a share of requests of which nothing is refused."""

    shadow_fraction: Fraction | None = None
    additional_origins: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=253)], ...], Field(max_length=16)
    ] = ()


@dataclass(frozen=True, slots=True)
class Csrf:
    """Hosts, with their ports; `.example.com` is every subdomain. `shadow` is in millionths."""

    origins: tuple[str, ...]
    shadow: int


class CsrfFeature(Feature[CsrfSpec, Csrf]):
    """`csrf` of a SecurityPolicy."""

    name = "csrf"
    carriers = (("SecurityPolicy", "csrf"),)
    filter_name = "envoy.filters.http.csrf"

    def resolve(self, spec: CsrfSpec, context: Context) -> Csrf | None:
        """The origins, or None if one of them cannot be compared."""
        origins = []
        for number, written in enumerate(spec.additional_origins):
            match = _ORIGIN.fullmatch(written.lower())
            if match is None:
                reason = (
                    "an origin is a host with an optional port, such as https://www.example.com or *.example.com:8443"
                )
                context.problem("F103", "additionalOrigins", number, reason=reason)
                return None
            origins.append(match.group(2))
        share = spec.shadow_fraction
        shadow = _ALL * share.numerator // share.denominator if share else 0
        if shadow > _ALL:
            context.problem("F103", "shadowFraction", reason="this is more than all requests")
            return None
        return Csrf(tuple(dict.fromkeys(origins)), shadow)

    def http_filter(self, values: Sequence[Csrf]) -> CsrfPolicy:
        """The filter itself refuses nothing; routes do."""
        return CsrfPolicy(filter_enabled=_share(0))

    def route(self, value: Csrf, route: Route) -> None:
        """What this route compares."""
        policy = CsrfPolicy(filter_enabled=_share(_ALL - value.shadow))
        if value.shadow:
            # What is not enforced is counted, all of it.
            policy.shadow_enabled.CopyFrom(_share(_ALL))
        for origin in value.origins:
            policy.additional_origins.append(
                StringMatcher(suffix=origin) if origin.startswith(".") else StringMatcher(exact=origin)
            )
        enable(route, self.filter_name, policy)


def _share(millionths: int) -> RuntimeFractionalPercent:
    return RuntimeFractionalPercent(
        default_value=FractionalPercent(numerator=millionths, denominator=FractionalPercent.MILLION)
    )


CSRF = CsrfFeature()
