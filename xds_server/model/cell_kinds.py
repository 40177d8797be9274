"""The five kinds of `cellway.dev/v1alpha1` as they are written: Organization, CellClass, Cell, ExternalService, CellBinding.

`traffic` and `security` hold the spec of a BackendTrafficPolicy and a SecurityPolicy without targets; they are
kept as written here and get their type when `cells/` derives the policy that they mean.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from xds_server.model.core import IpAddress
from xds_server.model.external_services import Allow, ExternalOverride, OutgoingMethod, PathPrefix
from xds_server.spec import Bool, HeaderValue, ObjectName, Port, PreciseHostname, SectionName, Spec, Text
from xds_server.types import read_network

Direction = Literal["north", "west", "east", "south"]
Visibility = Literal["organization", "public"]
Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Stage(Spec):
    """A stage of an organization: dev, test, prod. The order of the list is the order of promotion."""

    name: Label
    trust_domain: PreciseHostname | None = None
    production: Bool = False


class RemoteJwks(Spec):
    """Where an identity provider publishes its keys."""

    uri: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^https?://")]


class IdentityProvider(Spec):
    """Issuer, audiences and keys that a JWT provider may leave out, found by name or by issuer."""

    name: Text
    issuer: Text
    audiences: tuple[Text, ...] = ()
    remote_jwks: Annotated[RemoteJwks | None, Field(alias="remoteJWKS")] = None
    local_jwks: Annotated[dict[str, Any] | None, Field(alias="localJWKS")] = None

    @model_validator(mode="after")
    def _one_source(self) -> IdentityProvider:
        if (self.remote_jwks is None) == (self.local_jwks is None):
            raise ValueError("give either 'remoteJWKS' or 'localJWKS'")
        return self


def _network(text: str) -> str:
    try:
        read_network(text)
    except ValueError as error:
        raise ValueError(f"this is no address range such as 203.0.113.0/24: {error}") from None
    return text


class Edge(Spec):
    """What stands between the internet and north gateways: a CDN, a firewall.

    Only `trustedProxies` get in. So many of them, `trustedHops`, stand in a row in front of a gateway: the entry of
    X-Forwarded-For that the first of them wrote is the client.
    """

    trusted_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(min_length=1)]
    trusted_hops: Annotated[int, Field(strict=True, ge=1, le=16)] = 1


class CellLog(Spec):
    """Where gateways write a line for each request: the output of their own Envoy."""

    path: Literal["/dev/stdout", "/dev/stderr"] = "/dev/stdout"


class OrganizationSpec(Spec):
    """What all cells share."""

    logical_domain: PreciseHostname = "cell.internal"
    default_class: ObjectName | None = None
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(name="default"),)
    identity_providers: tuple[IdentityProvider, ...] = ()
    gateway_aliases: dict[str, Direction] = {}
    edge: Edge | None = None
    access_log: CellLog | None = None

    @model_validator(mode="after")
    def _stages_apart(self) -> OrganizationSpec:
        names = [stage.name for stage in self.stages]
        again = next((one for one in names if names.count(one) > 1), None)
        if again is not None:
            raise ValueError(f"two stages have the name '{again}'")
        domains = [self.domain_of(stage) for stage in self.stages]
        twice = next((one for one in domains if domains.count(one) > 1), None)
        if twice is not None:
            raise ValueError(
                f"two stages have the trust domain '{twice}'; certificates of one would count in the other"
            )
        return self

    def domain_of(self, stage: Stage) -> str:
        """The trust domain of a stage."""
        return stage.trust_domain or f"{stage.name}.{self.logical_domain}"


class DirectionDefaults(Spec):
    """Policy specs for everything in one direction."""

    security: dict[str, Any] = {}
    traffic: dict[str, Any] = {}


class NorthTls(Spec):
    """How north serves hosts over TLS, where it has a certificate, and how it sends plain HTTP there."""

    min_version: Literal["1.2", "1.3"] | None = None
    redirect: Literal[301, 302, 307, 308] | None = None
    hsts: HeaderValue | None = None


class NorthDefaults(DirectionDefaults):
    """The same for north, and its TLS."""

    tls: NorthTls = NorthTls()


class SouthDefaults(DirectionDefaults):
    """The same for south, and whether names may lead to addresses inside: loopback, private networks, metadata."""

    deny_private_addresses: Bool | None = None


class Directions(Spec):
    """Policy specs by direction."""

    north: NorthDefaults | None = None
    west: DirectionDefaults | None = None
    east: DirectionDefaults | None = None
    south: SouthDefaults | None = None


class CellClassSpec(Spec):
    """Defaults that a cell may change and overrides that it may not."""

    extends: ObjectName | None = None
    defaults: Directions = Directions()
    overrides: Directions = Directions()


class EndpointAllow(Allow):
    """Which cells may call an endpoint, and who operates it.

    `methods` limits single cells to some methods; `operators` are let in with a certificate for
    `spiffe://DOMAIN/operator/NAME`.
    """

    methods: dict[ObjectName, Annotated[tuple[OutgoingMethod, ...], Field(min_length=1)]] = {}
    operators: tuple[Label, ...] = ()

    @model_validator(mode="after")
    def _methods_of_allowed_cells(self) -> EndpointAllow:
        if self.methods and self.all:
            raise ValueError("methods limit the cells that 'cells' names; with 'all: true' nobody is limited")
        unknown = sorted(set(self.methods) - set(self.cells))
        if unknown:
            raise ValueError(f"methods are for cells that 'cells' names, and '{unknown[0]}' is none of them")
        return self


class CellEndpoint(Spec):
    """One endpoint of a component. `visibility` is a set: nothing (the cell alone), organization, public.

    `from` names the components of the cell that call it; left out, all may. It is enforced where the component has a
    sidecar.
    """

    name: Label
    protocol: Literal["HTTP"] = "HTTP"
    port: Port
    base_path: PathPrefix = "/"
    visibility: tuple[Visibility, ...] = ()
    allow: EndpointAllow | None = None
    from_: Annotated[tuple[Label, ...], Field(alias="from")] = ()


class Component(Spec):
    """A part of a cell that runs; it may serve endpoints."""

    name: Label
    endpoints: tuple[CellEndpoint, ...] = ()


class Dependency(Spec):
    """Something outside the cell that its components call: an endpoint of another cell, or an external service.

    `from` names the components that call it; left out, all may. Without sidecars a gateway cannot tell components of its
    cell apart: the status of the cell says so.
    """

    name: Label
    cell: ObjectName | None = None
    component: Label | None = None
    endpoint: Label | None = None
    external: ObjectName | None = None
    from_: Annotated[tuple[Label, ...], Field(alias="from")] = ()

    @model_validator(mode="after")
    def _one_target(self) -> Dependency:
        if (self.cell is None) == (self.external is None):
            raise ValueError("a dependency names either a 'cell' or an 'external'")
        if self.external is not None and (self.component or self.endpoint):
            raise ValueError("'component' and 'endpoint' belong to a dependency on a cell")
        if self.cell is not None and self.component is None:
            raise ValueError("a dependency on a cell needs its 'component'")
        return self


class CertificateRef(Spec):
    """The TLS certificate of the north gateway: the name of a Secret of the cell's namespace."""

    certificate_ref: ObjectName


class NorthGateway(Spec):
    """Hosts of the cell on the internet, and its certificate. Without one, north speaks plain HTTP."""

    hostnames: tuple[PreciseHostname, ...] = ()
    tls: CertificateRef | None = None


class CellGateways(Spec):
    """Settings of the cell's gateways."""

    north: NorthGateway | None = None


class CellSpec(Spec):
    """A project at run time."""

    class_: Annotated[ObjectName | None, Field(alias="class")] = None
    components: Annotated[tuple[Component, ...], Field(min_length=1)]
    dependencies: tuple[Dependency, ...] = ()
    gateways: CellGateways = CellGateways()


class BoundEndpoint(Spec):
    """Where a component endpoint runs in a stage. The port is the endpoint's own unless said."""

    address: IpAddress
    port: Port | None = None
    zone: Text = ""


def _loopback(text: str) -> str:
    if not ipaddress.ip_address(text).is_loopback:
        raise ValueError(f"{text} is no loopback address: others could reach the application without its sidecar")
    return text


class BoundSidecar(Spec):
    """The sidecar of a component in a stage. It listens for callers where `endpoints` has the component.

    `application` is the loopback address at which the application listens, and at which the sidecar listens for it.
    `address` is what the sidecar binds for callers, where that is not the address of the endpoints.
    """

    application: Annotated[IpAddress, AfterValidator(_loopback)] = "127.0.0.1"
    address: IpAddress | None = None


class SectionOverride(Spec):
    """Policy specs for one section (`west.api.http`, `east.orders`) in this stage."""

    security: dict[str, Any] = {}
    traffic: dict[str, Any] = {}


class BindingOverrides(Spec):
    """What is different in this stage."""

    gateways: CellGateways = CellGateways()
    externals: dict[ObjectName, ExternalOverride] = {}
    sections: dict[SectionName, SectionOverride] = {}


class GatewayPorts(Spec):
    """Ports of the cell's gateways in this stage."""

    http: Port = 8080
    https: Port = 8443
    west: Port = 15443
    east: Port = 15001
    south: Port = 15002
    south_tls: Port = 15443
    dns: Port = 15053
    east_sidecars: Port = 15011
    south_sidecars: Port = 15012


WORKING_COPY = "working-copy"


class CellBindingSpec(Spec):
    """A cell in a stage. `address` is the base of four: +1 north, +2 west, +3 east, +4 south.

    `release` says what of the cell the stage has: a stored release, or `working-copy` for what is written now. Left out,
    the first stage has the working copy and later ones what was promoted last.
    """

    cell: ObjectName
    stage: Label
    release: ObjectName | None = None
    address: IpAddress
    ports: GatewayPorts = GatewayPorts()
    endpoints: dict[SectionName, tuple[BoundEndpoint, ...]] = {}
    sidecars: dict[Label, BoundSidecar] = {}
    overrides: BindingOverrides = BindingOverrides()
