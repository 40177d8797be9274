"""Kubernetes' own kinds as far as routing needs them, and Envoy Gateway's Backend.

Service and EndpointSlice say where a name leads, Secret and ConfigMap hold values, Backend lists endpoints
directly. Fields of a Service that only matter to a cluster's own machinery are accepted and have no effect;
they are the ones marked so here.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from xds_server.features.parts.tls_names import CIPHERS, CURVES, SIGNATURES
from xds_server.spec import Bool, ObjectName, ObjectRef, Port, PreciseHostname, Spec, Text
from xds_server.types import read_network

_LONGEST_SOCKET_PATH = 107
_VERSIONS = ("Auto", "1.0", "1.1", "1.2", "1.3")
TlsVersion = Literal["Auto", "1.0", "1.1", "1.2", "1.3"]


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"'{text}' is not an IP address") from None


IpAddress = Annotated[str, AfterValidator(_ip_address)]


class ServicePort(Spec):
    """One port of a Service. Its endpoints' ports are those of EndpointSlices that have its name.

    `targetPort` finds a slice's port, by name or number, where none has that name.
    """

    name: Text = ""
    port: Port
    target_port: Port | Text | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: Text | None = None
    node_port: int | None = None  # no effect


class ServiceSpec(Spec):
    """A Service. Its endpoints come from EndpointSlices that carry its name as a label."""

    ports: Annotated[tuple[ServicePort, ...], Field(max_length=64)] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    external_name: Text = ""
    selector: dict[str, str] = {}  # no effect, like all that follows
    cluster_ip: Annotated[str, Field(alias="clusterIP")] = ""
    cluster_ips: Annotated[tuple[str, ...], Field(alias="clusterIPs")] = ()
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    external_ips: Annotated[tuple[str, ...], Field(alias="externalIPs")] = ()
    load_balancer_class: str | None = None
    load_balancer_ip: Annotated[str, Field(alias="loadBalancerIP")] = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: Bool | None = None
    health_check_node_port: int | None = None
    publish_not_ready_addresses: Bool = False
    session_affinity: Literal["None"] = "None"

    @model_validator(mode="after")
    def _distinct_ports(self) -> ServiceSpec:
        names = [port.name for port in self.ports]
        if len(names) > 1 and "" in names:
            raise ValueError("each of several ports needs a name")
        if len(set(names)) < len(names):
            raise ValueError(f"two ports are named '{next(name for name in names if names.count(name) > 1)}'")
        numbers = [(port.port, port.protocol) for port in self.ports]
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise ValueError(f"port {twice[0]} is there twice for {twice[1]}")
        return self


class EndpointConditions(Spec):
    """Whether an endpoint takes new requests. Unknown counts as ready."""

    ready: Bool | None = None
    serving: Bool | None = None
    terminating: Bool | None = None


class SliceEndpoint(Spec):
    """One endpoint of a slice: its addresses stand for the same backend."""

    addresses: Annotated[tuple[IpAddress, ...], Field(min_length=1, max_length=100)]
    conditions: EndpointConditions = EndpointConditions()
    hostname: Text | None = None
    zone: Text = ""
    node_name: Text | None = None  # no effect, like all that follows
    target_ref: dict[str, str] = {}
    hints: dict[str, Any] = {}


class SlicePort(Spec):
    """A port of all endpoints of a slice."""

    name: Text = ""
    port: Port
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: Text | None = None


class EndpointSliceBody(Spec):
    """An EndpointSlice; the label `kubernetes.io/service-name` says whose endpoints these are."""

    address_type: Literal["IPv4", "IPv6"]
    endpoints: Annotated[tuple[SliceEndpoint, ...], Field(max_length=1000)] = ()
    ports: Annotated[tuple[SlicePort, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _of_one_family(self) -> EndpointSliceBody:
        version = 4 if self.address_type == "IPv4" else 6
        for endpoint in self.endpoints:
            for address in endpoint.addresses:
                if ipaddress.ip_address(address).version != version:
                    raise ValueError(f"{address} does not fit addressType {self.address_type}")
        names = [port.name for port in self.ports]
        if len(set(names)) < len(names):
            raise ValueError("each port of a slice needs a name of its own")
        return self


def _base64(text: SecretStr) -> SecretStr:
    try:
        base64.b64decode(text.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64; use stringData for plain text") from None
    return text


class SecretBody(Spec):
    """A Secret. Values never appear in a repr, a dump or a message."""

    type: Text = "Opaque"
    data: dict[str, Annotated[SecretStr, AfterValidator(_base64)]] = {}
    string_data: dict[str, SecretStr] = {}
    immutable: Bool | None = None  # no effect

    def values(self) -> dict[str, bytes]:
        """All values as bytes; stringData wins over data."""
        decoded = {key: base64.b64decode(value.get_secret_value()) for key, value in self.data.items()}
        return decoded | {key: value.get_secret_value().encode() for key, value in self.string_data.items()}


class ConfigMapBody(Spec):
    """A ConfigMap with text values."""

    data: dict[str, str] = {}
    immutable: Bool | None = None  # no effect


def _plain_path(text: str) -> str:
    if ".." in text.split("/") or len(text.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a socket has no '..' and at most {_LONGEST_SOCKET_PATH} bytes")
    return text


class IpEndpoint(Spec):
    """An IP address and a port."""

    address: IpAddress
    port: Port


class FqdnEndpoint(Spec):
    """A DNS name and a port."""

    hostname: PreciseHostname
    port: Port


class UnixEndpoint(Spec):
    """A Unix socket on the machine of the Envoy."""

    path: Annotated[Text, Field(min_length=2, max_length=107, pattern="^/"), AfterValidator(_plain_path)]


class BackendEndpoint(Spec):
    """One endpoint of a Backend: an address, a DNS name or a Unix socket."""

    ip: IpEndpoint | None = None
    fqdn: FqdnEndpoint | None = None
    unix: UnixEndpoint | None = None
    hostname: PreciseHostname | None = None
    zone: Text = ""

    @model_validator(mode="after")
    def _exactly_one(self) -> BackendEndpoint:
        if sum(one is not None for one in (self.ip, self.fqdn, self.unix)) != 1:
            raise ValueError("an endpoint needs one of 'ip', 'fqdn' and 'unix'")
        return self


class CaRef(Spec):
    """A ConfigMap or Secret whose key `ca.crt` holds certificate authorities as PEM."""

    group: Literal[""] = ""
    kind: Literal["ConfigMap", "Secret"] = "ConfigMap"
    name: ObjectName


def _names(known: frozenset[str]) -> AfterValidator:
    """Only names that Envoy knows, and each once."""

    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in known:
                raise ValueError(f"Envoy does not know '{name}'; known: {', '.join(sorted(known))}")
        if len(set(names)) < len(names):
            raise ValueError("a name is there twice")
        return names

    return AfterValidator(check)


Algorithms = Annotated[tuple[Text, ...], Field(max_length=32)]


class BackendTlsSpec(Spec):
    """TLS to the endpoints: whom to trust, and the name that is sent and must be in the certificate."""

    ca_certificate_refs: Annotated[tuple[CaRef, ...], Field(max_length=8)] = ()
    well_known_ca_certificates: Annotated[Literal["System"] | None, Field(alias="wellKnownCACertificates")] = None
    sni: PreciseHostname | None = None
    insecure_skip_verify: Bool = False
    auto_sni_from_endpoint_hostname: Annotated[Bool, Field(alias="autoSNIFromEndpointHostname")] = False
    client_certificate_ref: ObjectRef | None = None
    min_version: TlsVersion | None = None
    max_version: TlsVersion | None = None
    ciphers: Annotated[Algorithms, _names(CIPHERS)] = ()
    ecdh_curves: Annotated[Algorithms, _names(CURVES)] = ()
    signature_algorithms: Annotated[Algorithms, _names(SIGNATURES)] = ()
    alpn_protocols: Annotated[tuple[Literal["http/1.0", "http/1.1", "h2"], ...], Field(max_length=3)] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> BackendTlsSpec:
        if self.sni is not None and self.auto_sni_from_endpoint_hostname:
            raise ValueError("give either 'sni' or 'autoSNIFromEndpointHostname'")
        lowest, highest = (_VERSIONS.index(one or "Auto") for one in (self.min_version, self.max_version))
        if lowest and highest and lowest > highest:
            raise ValueError(f"maxVersion {self.max_version} is older than minVersion {self.min_version}")
        if self.ciphers and self.min_version == "1.3":
            raise ValueError("'ciphers' do nothing for TLS 1.3, and nothing older is spoken")
        return self

    @model_validator(mode="after")
    def _exactly_one_trust(self) -> BackendTlsSpec:
        if self.insecure_skip_verify and (self.ca_certificate_refs or self.well_known_ca_certificates):
            raise ValueError("with 'insecureSkipVerify' nothing is checked, so there is nobody to trust")
        if not self.insecure_skip_verify and bool(self.ca_certificate_refs) == (
            self.well_known_ca_certificates is not None
        ):
            raise ValueError("give either 'caCertificateRefs' or 'wellKnownCACertificates: System'")
        return self


def _range(text: str) -> str:
    try:
        return str(read_network(text))
    except ValueError:
        raise ValueError(f"'{text}' is no address range such as 10.1.0.0/16") from None


class ResolverSpec(Spec):
    """Addresses inside that a DynamicResolver may connect to all the same."""

    allowed_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(_range)], ...], Field(max_length=64, alias="allowedCIDRs")
    ] = ()


class BackendSpec(Spec):
    """Envoy Gateway's Backend: endpoints by address or by name, not mixed; or whatever host a request names.

    `resolver` is Cellway's own.
    """

    type: Literal["Endpoints", "DynamicResolver"] = "Endpoints"
    endpoints: Annotated[tuple[BackendEndpoint, ...], Field(max_length=256)] = ()
    resolver: ResolverSpec | None = None
    app_protocols: tuple[
        Literal["gateway.envoyproxy.io/h2c", "gateway.envoyproxy.io/ws", "gateway.envoyproxy.io/wss"], ...
    ] = ()
    fallback: Bool = False
    tls: BackendTlsSpec | None = None

    @model_validator(mode="after")
    def _fits_type(self) -> BackendSpec:
        if self.type == "Endpoints" and (not self.endpoints or self.resolver is not None):
            raise ValueError("type Endpoints needs 'endpoints', and no 'resolver'")
        if self.type == "DynamicResolver" and (self.endpoints or self.fallback):
            raise ValueError("a DynamicResolver has neither 'endpoints' nor 'fallback': requests name their host")
        if self.type == "DynamicResolver" and self.tls is not None and (self.tls.sni or self.tls.insecure_skip_verify):
            raise ValueError(
                "TLS of a DynamicResolver takes neither 'sni' nor 'insecureSkipVerify': each host proves its name"
            )
        return self

    @model_validator(mode="after")
    def _not_mixed(self) -> BackendSpec:
        if len({endpoint.fqdn is None for endpoint in self.endpoints}) > 1:
            raise ValueError("'fqdn' endpoints cannot be mixed with others in one Backend")
        if self.tls is None or self.tls.sni is not None or self.type == "DynamicResolver":
            return self
        if self.tls.auto_sni_from_endpoint_hostname:
            if any(not (item.fqdn or item.hostname) for item in self.endpoints):
                raise ValueError("'autoSNIFromEndpointHostname' needs a hostname at each endpoint")
        elif not self.tls.insecure_skip_verify and any(not item.fqdn for item in self.endpoints):
            raise ValueError("TLS to an address needs 'tls.sni': the name that its certificate must have")
        return self
