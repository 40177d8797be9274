"""GatewayClass, Gateway and ListenerSet as they are written.

Follows the v1 types of gateway-api.sigs.k8s.io, with their rules across fields; the older apiVersions have the same
shape. Fields that this version does not act on are not declared, so that setting one is an error with a place.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from xds_server.model.namespaces import LabelSelector
from xds_server.spec import (
    GroupName,
    Hostname,
    KindName,
    NamespaceName,
    ObjectName,
    ObjectRef,
    Port,
    SectionName,
    Spec,
    Text,
)
from xds_server.types import GATEWAY_GROUP

_WORD = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
ProtocolName = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=rf"^({_WORD}|{_DOMAIN}/[A-Za-z0-9]+)$")
]
LabelKey = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=253, pattern=rf"^({_DOMAIN}/)?([A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]$"
    ),
]
LabelText = Annotated[str, StringConstraints(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
ControllerName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_DOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$")
]
AnnotationText = Annotated[str, StringConstraints(max_length=4096)]


class ParametersRef(Spec):
    """Further settings of a kind that an implementation chooses."""

    group: GroupName
    kind: KindName
    name: ObjectName
    namespace: NamespaceName | None = None


class GatewayClassSpec(Spec):
    """`controllerName` says who answers for the class's Gateways."""

    controller_name: ControllerName
    description: Annotated[str, Field(max_length=64)] = ""
    parameters_ref: ParametersRef | None = None


class RouteNamespaces(Spec):
    """From which namespaces routes may attach."""

    from_: Annotated[Literal["All", "Same", "Selector"], Field(alias="from")] = "Same"
    selector: LabelSelector | None = None


class RouteKind(Spec):
    """A kind of route."""

    group: GroupName = GATEWAY_GROUP
    kind: KindName


class AllowedRoutes(Spec):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteKind, ...], Field(max_length=8)] = ()


class ListenerTls(Spec):
    """TLS of a listener: ended at the gateway, or passed through to the backend that SNI names."""

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: Annotated[tuple[ObjectRef, ...], Field(max_length=64)] = ()


class Listener(Spec):
    """One listener of a Gateway or a ListenerSet."""

    name: SectionName
    hostname: Hostname | None = None
    port: Port
    protocol: ProtocolName
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


def _distinct(listeners: tuple[Listener, ...]) -> None:
    names = [listener.name for listener in listeners]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two listeners are named '{twice}'")


class GatewayAddress(Spec):
    """Where a Gateway listens. Without a value one is assigned."""

    type: Text = "IPAddress"
    value: Annotated[Text, Field(max_length=253)] = ""


class LocalParametersRef(Spec):
    """Further settings in the Gateway's own namespace."""

    group: GroupName
    kind: KindName
    name: ObjectName


class GatewayInfrastructure(Spec):
    """Labels and annotations for what is made for a Gateway: its Envoy listeners carry them as metadata."""

    labels: Annotated[dict[LabelKey, LabelText], Field(max_length=8)] = {}
    annotations: Annotated[dict[LabelKey, AnnotationText], Field(max_length=8)] = {}
    parameters_ref: LocalParametersRef | None = None


class ListenerNamespaces(Spec):
    """From which namespaces ListenerSets may add listeners."""

    from_: Annotated[Literal["None", "All", "Same", "Selector"], Field(alias="from")] = "None"
    selector: LabelSelector | None = None


class AllowedListeners(Spec):
    """Which ListenerSets may add listeners to a Gateway."""

    namespaces: ListenerNamespaces = ListenerNamespaces()


class CaCertificateRef(Spec):
    """A ConfigMap or Secret whose key `ca.crt` holds certificate authorities as PEM."""

    group: GroupName
    kind: KindName
    name: ObjectName
    namespace: NamespaceName | None = None


class FrontendValidation(Spec):
    """Who vouches for clients. AllowInsecureFallback lets those in, too, whom nobody vouches for."""

    ca_certificate_refs: Annotated[tuple[CaCertificateRef, ...], Field(min_length=1, max_length=8)]
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


class FrontendTls(Spec):
    """TLS between clients and HTTPS listeners."""

    validation: FrontendValidation | None = None


class PortTls(Spec):
    """TLS of the HTTPS listeners of one port."""

    port: Port
    tls: FrontendTls


class GatewayFrontend(Spec):
    """TLS of all HTTPS listeners, and of those of single ports."""

    default: FrontendTls
    per_port: Annotated[tuple[PortTls, ...], Field(max_length=64)] = ()

    @model_validator(mode="after")
    def _distinct_ports(self) -> GatewayFrontend:
        ports = [one.port for one in self.per_port]
        if len(set(ports)) < len(ports):
            raise ValueError(f"port {next(port for port in ports if ports.count(port) > 1)} is there twice")
        return self


class GatewayBackend(Spec):
    """The certificate that a Gateway shows to backends which it reaches over TLS."""

    client_certificate_ref: ObjectRef | None = None


class GatewayTls(Spec):
    """TLS of a whole Gateway: to clients and to backends."""

    backend: GatewayBackend | None = None
    frontend: GatewayFrontend | None = None


class GatewaySpec(Spec):
    """A Gateway. The class is optional for files."""

    gateway_class_name: Text = ""
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1, max_length=64)]
    addresses: Annotated[tuple[GatewayAddress, ...], Field(max_length=16)] = ()
    infrastructure: GatewayInfrastructure | None = None
    allowed_listeners: AllowedListeners = AllowedListeners()
    tls: GatewayTls | None = None

    @model_validator(mode="after")
    def _distinct(self) -> GatewaySpec:
        _distinct(self.listeners)
        values = [(one.type, _canonical(one.value)) for one in self.addresses if one.value]
        if len(set(values)) < len(values):
            raise ValueError(f"address {next(one for one in values if values.count(one) > 1)[1]} is there twice")
        return self


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


class ParentGatewayRef(Spec):
    """The Gateway that listeners are added to."""

    group: GroupName = GATEWAY_GROUP
    kind: KindName = "Gateway"
    name: ObjectName
    namespace: NamespaceName | None = None


class ListenerSetSpec(Spec):
    """Listeners that others than a Gateway's owner add to it."""

    parent_ref: ParentGatewayRef
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _distinct_names(self) -> ListenerSetSpec:
        _distinct(self.listeners)
        return self
