"""GatewayClass and Gateway as they are written.

Follows the v1 types of gateway-api.sigs.k8s.io; the older apiVersions have the same shape. Fields that this
version does not act on are not declared, so that setting one is an error with a place.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.model.namespaces import LabelSelector
from xds_server.spec import Hostname, ObjectRef, Port, SectionName, Spec, Text
from xds_server.types import GATEWAY_GROUP


class GatewayClassSpec(Spec):
    """`controllerName` says who answers for the class's Gateways."""

    controller_name: Text
    description: str = ""


class RouteNamespaces(Spec):
    """From which namespaces routes may attach."""

    from_: Annotated[Literal["All", "Same", "Selector"], Field(alias="from")] = "Same"
    selector: LabelSelector | None = None


class RouteKind(Spec):
    """A kind of route."""

    group: str = GATEWAY_GROUP
    kind: Text


class AllowedRoutes(Spec):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] = ()


class ListenerTls(Spec):
    """TLS of a listener. Only termination at the gateway."""

    mode: Literal["Terminate"] = "Terminate"
    certificate_refs: Annotated[tuple[ObjectRef, ...], Field(max_length=64)] = ()


class Listener(Spec):
    """One listener of a Gateway."""

    name: SectionName
    hostname: Hostname | None = None
    port: Port
    protocol: Text
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Spec):
    """Where a Gateway listens."""

    type: Text = "IPAddress"
    value: Text = ""


class GatewayInfrastructure(Spec):
    """Labels and annotations for what is made for a Gateway."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class GatewaySpec(Spec):
    """A Gateway. The class is optional for files."""

    gateway_class_name: Text = ""
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1, max_length=64)]
    addresses: Annotated[tuple[GatewayAddress, ...], Field(max_length=16)] = ()
    infrastructure: GatewayInfrastructure | None = None

    @model_validator(mode="after")
    def _unique_names(self) -> GatewaySpec:
        names = [listener.name for listener in self.listeners]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two listeners are named '{twice}'")
        return self
