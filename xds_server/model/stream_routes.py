"""TLSRoute, TCPRoute and UDPRoute as they are written.

Follows the types of gateway-api.sigs.k8s.io; the older apiVersions have the same shape. Nothing in a connection tells
several rules apart, so there is exactly one.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, model_validator

from xds_server.model.gateway_api import RouteSpec
from xds_server.model.route_filters import BackendRef
from xds_server.spec import Hostname, SectionName, Spec


class StreamRule(Spec):
    """Where connections or datagrams go, by weight."""

    name: SectionName | None = None
    backend_refs: Annotated[tuple[BackendRef, ...], Field(min_length=1, max_length=16)]


class StreamRouteSpec(RouteSpec):
    """A TCPRoute or a UDPRoute."""

    rules: Annotated[tuple[StreamRule, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _one_rule(self) -> StreamRouteSpec:
        if len(self.rules) > 1:
            raise ValueError("nothing tells several rules apart, so only one can be served; write one rule")
        return self


class TlsRouteSpec(StreamRouteSpec):
    """A TLSRoute. `hostnames` are compared with the name that a client asks for (SNI)."""

    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _names_only(self) -> TlsRouteSpec:
        for hostname in self.hostnames:
            if _is_address(hostname):
                raise ValueError(f"'{hostname}' is an IP address, which no client asks for by SNI; write a name")
        return self


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
