"""The table of all kinds that Cellway reads: group, versions, scope, and the model of the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.model import (
    backend_tls,
    cell_kinds,
    core,
    external_services,
    gateway_api,
    gateways,
    grpc_route,
    namespaces,
    patches,
    policies,
    proxies,
    stream_routes,
)
from xds_server.spec import Spec
from xds_server.types import CELLWAY_GROUP, CORE_GROUP, DISCOVERY_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `versions`: the first is the one to write. `has_spec`: the body is below `spec`, not the document."""

    group: str
    name: str
    versions: tuple[str, ...]
    spec: type[Spec]
    namespaced: bool = True
    has_spec: bool = True


_GATEWAY_VERSIONS = ("v1", "v1beta1", "v1alpha2")
_TLS_VERSIONS = ("v1", "v1alpha3", "v1alpha2")
_STREAM_VERSIONS = ("v1", "v1alpha2")

_ALL = (
    Kind(GATEWAY_GROUP, "GatewayClass", _GATEWAY_VERSIONS, gateways.GatewayClassSpec, namespaced=False),
    Kind(GATEWAY_GROUP, "Gateway", _GATEWAY_VERSIONS, gateways.GatewaySpec),
    Kind(GATEWAY_GROUP, "ListenerSet", ("v1",), gateways.ListenerSetSpec),
    Kind(GATEWAY_GROUP, "HTTPRoute", _GATEWAY_VERSIONS, gateway_api.HttpRouteSpec),
    Kind(GATEWAY_GROUP, "GRPCRoute", _GATEWAY_VERSIONS, grpc_route.GrpcRouteSpec),
    Kind(GATEWAY_GROUP, "TLSRoute", _TLS_VERSIONS, stream_routes.TlsRouteSpec),
    Kind(GATEWAY_GROUP, "TCPRoute", _STREAM_VERSIONS, stream_routes.StreamRouteSpec),
    Kind(GATEWAY_GROUP, "UDPRoute", _STREAM_VERSIONS, stream_routes.StreamRouteSpec),
    Kind(GATEWAY_GROUP, "ReferenceGrant", _GATEWAY_VERSIONS, namespaces.ReferenceGrantSpec),
    Kind(GATEWAY_GROUP, "BackendTLSPolicy", ("v1", "v1alpha3"), backend_tls.BackendTlsPolicySpec),
    Kind(CORE_GROUP, "Namespace", ("v1",), namespaces.NamespaceSpec, namespaced=False),
    Kind(CORE_GROUP, "Service", ("v1",), core.ServiceSpec),
    Kind(CORE_GROUP, "Secret", ("v1",), core.SecretBody, has_spec=False),
    Kind(CORE_GROUP, "ConfigMap", ("v1",), core.ConfigMapBody, has_spec=False),
    Kind(DISCOVERY_GROUP, "EndpointSlice", ("v1", "v1beta1"), core.EndpointSliceBody, has_spec=False),
    Kind(ENVOY_GATEWAY_GROUP, "Backend", ("v1alpha1",), core.BackendSpec),
    Kind(ENVOY_GATEWAY_GROUP, "SecurityPolicy", ("v1alpha1",), policies.SecurityPolicySpec),
    Kind(ENVOY_GATEWAY_GROUP, "BackendTrafficPolicy", ("v1alpha1",), policies.BackendTrafficPolicySpec),
    Kind(ENVOY_GATEWAY_GROUP, "ClientTrafficPolicy", ("v1alpha1",), policies.ClientTrafficPolicySpec),
    Kind(ENVOY_GATEWAY_GROUP, "EnvoyProxy", ("v1alpha1",), proxies.EnvoyProxySpec),
    Kind(ENVOY_GATEWAY_GROUP, "EnvoyExtensionPolicy", ("v1alpha1",), policies.EnvoyExtensionPolicySpec),
    Kind(ENVOY_GATEWAY_GROUP, "EnvoyPatchPolicy", ("v1alpha1",), patches.EnvoyPatchPolicySpec),
    Kind(ENVOY_GATEWAY_GROUP, "HTTPRouteFilter", ("v1alpha1",), policies.HttpRouteFilterSpec),
    Kind(CELLWAY_GROUP, "Organization", ("v1alpha1",), cell_kinds.OrganizationSpec, namespaced=False),
    Kind(CELLWAY_GROUP, "CellClass", ("v1alpha1",), cell_kinds.CellClassSpec, namespaced=False),
    Kind(CELLWAY_GROUP, "Cell", ("v1alpha1",), cell_kinds.CellSpec, namespaced=False),
    Kind(CELLWAY_GROUP, "ExternalService", ("v1alpha1",), external_services.ExternalServiceSpec, namespaced=False),
    Kind(CELLWAY_GROUP, "CellBinding", ("v1alpha1",), cell_kinds.CellBindingSpec, namespaced=False),
)

KINDS: Mapping[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in _ALL}
