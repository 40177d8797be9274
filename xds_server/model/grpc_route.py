"""GRPCRoute as it is written.

Follows the v1 type of gateway-api.sigs.k8s.io. Of a call only what its path says can be matched (`/SERVICE/METHOD`), and
its metadata. There are no timeouts or retries here: a BackendTrafficPolicy has them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.features.session_persistence import SessionPersistenceSpec
from xds_server.model.gateway_api import HeaderMatch, RouteSpec, check_regex
from xds_server.model.route_filters import GrpcBackendRef, GrpcRouteFilter, check_filters, check_rule_names
from xds_server.spec import Hostname, SectionName, Spec

_SERVICE = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
_METHOD = r"[A-Za-z_][A-Za-z0-9_]*"
Name = Annotated[str, Field(min_length=1, max_length=1024)]


class GrpcMethodMatch(Spec):
    """A service, a method, or both."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: Name | None = None
    method: Name | None = None

    @model_validator(mode="after")
    def _well_formed(self) -> GrpcMethodMatch:
        if self.service is None and self.method is None:
            raise ValueError("give 'service', 'method' or both")
        for what, text, pattern in (("service", self.service, _SERVICE), ("method", self.method, _METHOD)):
            if text is None:
                continue
            if self.type == "RegularExpression":
                check_regex(text)
            elif not re.fullmatch(pattern, text):
                raise ValueError(f"'{text}' is not the name of a gRPC {what}")
        return self


class GrpcRouteMatch(Spec):
    """Conditions that a call must meet all of."""

    method: GrpcMethodMatch | None = None
    headers: Annotated[tuple[HeaderMatch, ...], Field(max_length=16)] = ()


class GrpcRouteRule(Spec):
    """Matches (any of them), filters, and where to send."""

    name: SectionName | None = None
    matches: Annotated[tuple[GrpcRouteMatch, ...], Field(max_length=64)] = (GrpcRouteMatch(),)
    filters: Annotated[tuple[GrpcRouteFilter, ...], Field(max_length=16)] = ()
    backend_refs: Annotated[tuple[GrpcBackendRef, ...], Field(max_length=16)] = ()
    session_persistence: SessionPersistenceSpec | None = None

    @model_validator(mode="after")
    def _filters_fit(self) -> GrpcRouteRule:
        check_filters(self.filters)
        return self


class GrpcRouteSpec(RouteSpec):
    """A GRPCRoute."""

    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=1024)] = ()
    rules: Annotated[tuple[GrpcRouteRule, ...], Field(min_length=1, max_length=256)] = (GrpcRouteRule(),)

    @model_validator(mode="after")
    def _unique_names(self) -> GrpcRouteSpec:
        check_rule_names(rule.name for rule in self.rules)
        return self
