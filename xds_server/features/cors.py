"""CORS: which pages of other origins may call, and what their browsers may show them.

In: the `cors` filter of an HTTPRoute (Gateway API), or `cors` of a SecurityPolicy (Envoy Gateway); the filter is nearer
and wins. Out: Envoy's CORS filter. Preflight requests are answered at the gateway, those of origins that are not listed
without a permission. With credentials browsers take `*` literally, so they are told the method and headers they asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.patterns import escape, exact, regex, regex_problem
from xds_server.features.parts.values import seconds
from xds_server.spec import Bool, Duration, Spec

_ORIGIN = re.compile(
    r"[a-zA-Z][a-zA-Z0-9+.-]*://(\*|(\*\.)?[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5}|:\*)?"
)


def _origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError(f"'{text}' is not an origin such as https://shop.example, https://*.shop.example:8443 or *")
    return text


Origin = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_origin)]
Token = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~`]+$")]


class _CorsSpec(Spec):
    """What both kinds of CORS rules say."""

    allow_origins: Annotated[tuple[Origin, ...], Field(max_length=64)] = ()
    allow_methods: Annotated[tuple[Token, ...], Field(max_length=16)] = ()
    allow_headers: Annotated[tuple[Token, ...], Field(max_length=64)] = ()
    expose_headers: Annotated[tuple[Token, ...], Field(max_length=64)] = ()
    allow_credentials: Bool = False


class CorsFilterSpec(_CorsSpec):
    """The filter of a rule. `maxAge` in seconds."""

    max_age: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] = 5


class CorsPolicySpec(_CorsSpec):
    """The part of a policy."""

    max_age: Duration | None = None


@dataclass(frozen=True, slots=True)
class CorsRules:
    """`origins` are (is expression, text) pairs. `methods` and `headers` may be `*` alone; `max_age` in seconds."""

    origins: tuple[tuple[bool, str], ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: int | None
    credentials: bool


class CorsFeature(Feature[CorsFilterSpec | CorsPolicySpec, CorsRules]):
    """`cors` of an HTTPRoute's rule or of a SecurityPolicy."""

    name = "cors"
    carriers = (("SecurityPolicy", "cors"), ("HTTPRoute.filter", "cors"))
    filter_name = "envoy.filters.http.cors"

    def resolve(self, spec: CorsFilterSpec | CorsPolicySpec, context: Context) -> CorsRules | None:
        """The rules, or None if an origin cannot be compared."""
        origins = []
        for number, origin in enumerate(spec.allow_origins):
            pattern = _pattern(origin)
            if problem := regex_problem(pattern) if pattern else "":
                context.problem("F100", "allowOrigins", number, pattern=origin, reason=problem)
                return None
            origins.append((bool(pattern), pattern or origin))
        if spec.allow_credentials and any(origin == "*" for origin in spec.allow_origins):
            context.problem("F115", "allowOrigins")
        if spec.allow_credentials and "*" in spec.expose_headers:
            reason = "browsers do not take '*' in exposeHeaders together with credentials: name the headers"
            context.problem("F103", "exposeHeaders", reason=reason)
            return None
        return CorsRules(
            tuple(origins),
            _star(spec.allow_methods),
            _star(spec.allow_headers),
            _star(spec.expose_headers),
            _max_age(spec),
            spec.allow_credentials,
        )

    def http_filter(self, values: Sequence[CorsRules]) -> Cors:
        """The filter itself allows nothing; routes do."""
        return Cors()

    def route(self, value: CorsRules, route: Route) -> None:
        """The rules of this route."""
        policy = CorsPolicy()
        for expression, text in value.origins:
            policy.allow_origin_string_match.append(regex(text) if expression else exact(text))
        # Browsers that send credentials take "*" for a name. Envoy then answers with what the preflight asks for.
        policy.allow_methods = ", ".join(value.methods)
        policy.allow_headers = ", ".join(value.headers)
        policy.expose_headers = ", ".join(value.exposed)
        if value.max_age is not None:
            policy.max_age = str(value.max_age)
        policy.allow_credentials.value = value.credentials
        policy.forward_not_matching_preflights.value = False
        enable(route, self.filter_name, policy)


def _star(words: tuple[str, ...]) -> tuple[str, ...]:
    return ("*",) if "*" in words else words


def _pattern(origin: str) -> str:
    """An expression for an origin with a wildcard; empty for one that is compared as it is."""
    if origin == "*":
        return ".*"
    scheme, _, host = origin.partition("://")
    if "*" not in host:
        return ""
    port = ""
    if host.endswith(":*"):
        host, port = host[:-2], "(:[0-9]+)?"
    pattern = "[^/:]+" if host == "*" else escape(host)
    if host.startswith("*"):
        pattern = "[^/:]+" + escape(host[1:])
    return f"{escape(scheme)}://{pattern}{port}"


def _max_age(spec: CorsFilterSpec | CorsPolicySpec) -> int | None:
    length = seconds(spec.max_age) if isinstance(spec, CorsPolicySpec) else spec.max_age
    return None if length is None else int(length)


CORS = CorsFeature()
