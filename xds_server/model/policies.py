"""The policy kinds of `gateway.envoyproxy.io/v1alpha1`: what a policy targets, and which feature each field belongs to.

A feature is carried by one field here; the field's name and the feature's `carriers` must agree (a test checks).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.diagnostics import Path
from xds_server.features.adaptive_concurrency import AdaptiveConcurrencySpec
from xds_server.features.admission_control import AdmissionControlSpec
from xds_server.features.api_keys import ApiKeyAuthSpec
from xds_server.features.backend_proxy_protocol import BackendProxyProtocolSpec
from xds_server.features.bandwidth import BandwidthSpec
from xds_server.features.bandwidth_share import BandwidthShareSpec
from xds_server.features.basic_auth import BasicAuthSpec
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.client_address import ClientAddressSpec
from xds_server.features.client_connection import ClientConnectionSpec
from xds_server.features.client_grpc import ClientGrpcSpec
from xds_server.features.client_health_check import ClientHealthCheckSpec
from xds_server.features.client_http1 import ClientHttp1Spec
from xds_server.features.client_path import ClientPathSpec
from xds_server.features.client_proxy_protocol import ClientProxyProtocolSpec
from xds_server.features.client_timeout import ClientTimeoutSpec
from xds_server.features.client_tls import ClientTlsSpec
from xds_server.features.compression import CompressionSpec
from xds_server.features.connection import ConnectionSpec
from xds_server.features.cors import CorsPolicySpec
from xds_server.features.credential_injection import CredentialInjectionSpec
from xds_server.features.csrf import CsrfSpec
from xds_server.features.decompression import DecompressionSpec
from xds_server.features.direct_response import DirectResponseSpec
from xds_server.features.dns import DnsSpec
from xds_server.features.dynamic_modules import NativeModulesSpec
from xds_server.features.early_headers import ClientHeadersSpec
from xds_server.features.ext_auth import ExtAuthSpec
from xds_server.features.ext_proc import ProcessorsSpec
from xds_server.features.fault import FaultSpec
from xds_server.features.filter_rewrite import FilterRewriteSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.http3 import Http3Spec
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.jwt import JwtSpec
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.features.lua import ScriptsSpec
from xds_server.features.oidc import OidcSpec
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.features.parts.keepalive import TcpKeepaliveSpec
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.features.parts.route_telemetry import TelemetrySpec
from xds_server.features.peers import PeersSpec
from xds_server.features.priority_class import PriorityClassSpec
from xds_server.features.request_buffer import RequestBufferSpec
from xds_server.features.response_override import ResponseOverrideSpec
from xds_server.features.retry import RetrySpec
from xds_server.features.routing_type import RoutingTypeSpec
from xds_server.features.timeout import TimeoutSpec
from xds_server.features.tunnel import TunnelSpec
from xds_server.features.wasm import ModulesSpec
from xds_server.model.cookies import FilterMatch
from xds_server.model.namespaces import LabelSelector
from xds_server.spec import Bool, GroupName, HeaderName, KindName, ObjectName, SectionName, Spec
from xds_server.types import GATEWAY_GROUP

MOST_TARGETS = 16


class TargetRef(Spec):
    """One target in the policy's own namespace; `sectionName` is a listener, a rule, or a section of a Cell."""

    group: GroupName
    kind: KindName
    name: ObjectName
    section_name: SectionName | None = None


class SelectedNamespaces(Spec):
    """Where targets are looked for by label: in the policy's namespace, in all, or in those with certain labels."""

    from_: Annotated[Literal["Same", "All", "Selector"], Field(alias="from")] = "Same"
    selector: LabelSelector | None = None

    @model_validator(mode="after")
    def _selector_fits(self) -> SelectedNamespaces:
        if (self.selector is not None) != (self.from_ == "Selector"):
            raise ValueError("'selector' is for from: Selector, and only for that")
        return self


class TargetSelector(LabelSelector):
    """Targets by label. In other namespaces a ReferenceGrant there must permit it."""

    group: GroupName = GATEWAY_GROUP
    kind: KindName
    namespaces: SelectedNamespaces = SelectedNamespaces()


class Targets(Spec):
    """What a policy is attached to: targets by name, by label, or both."""

    target_ref: TargetRef | None = None
    target_refs: Annotated[tuple[TargetRef, ...], Field(max_length=MOST_TARGETS)] = ()
    target_selectors: Annotated[tuple[TargetSelector, ...], Field(max_length=MOST_TARGETS)] = ()

    @model_validator(mode="after")
    def _one_form(self) -> Targets:
        if self.target_ref is not None and self.target_refs:
            raise ValueError("give either 'targetRef' or 'targetRefs'")
        if self.target_ref is None and not self.target_refs and not self.target_selectors:
            raise ValueError("give 'targetRefs' (or 'targetRef'), 'targetSelectors', or both")
        return self

    @property
    def targets(self) -> tuple[TargetRef, ...]:
        """All targets, whichever field they are in."""
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())

    def conflicts(self) -> tuple[tuple[Path, str], ...]:
        """Where fields of this kind do not fit each other, and why."""
        return ()

    def target_path(self, index: int) -> tuple[str | int, ...]:
        """Where the target of this index is written, below the spec."""
        return ("targetRefs", index) if self.target_refs else ("targetRef",)


class MergingTargets(Targets):
    """What a policy is attached to that may be merged, at a route, into the one of the listener or Gateway above it."""

    merge_type: Literal["StrategicMerge", "JSONMerge"] | None = None

    @model_validator(mode="after")
    def _merged_at_routes(self) -> MergingTargets:
        if self.merge_type and any(target.kind in ("Gateway", "ListenerSet") for target in self.targets):
            raise ValueError("'mergeType' is for policies of routes: nothing is above a Gateway")
        return self


class EnvoyExtensionPolicySpec(MergingTargets):
    """What else Envoys do with requests and answers: scripts, services and modules, each kind in its order."""

    lua: ScriptsSpec | None = None
    ext_proc: ProcessorsSpec | None = None
    wasm: ModulesSpec | None = None
    dynamic_module: NativeModulesSpec | None = None


class SecurityPolicySpec(MergingTargets):
    """Who may come in."""

    cors: CorsPolicySpec | None = None
    csrf: CsrfSpec | None = None
    api_key_auth: ApiKeyAuthSpec | None = None
    basic_auth: BasicAuthSpec | None = None
    oidc: OidcSpec | None = None
    jwt: JwtSpec | None = None
    ext_auth: ExtAuthSpec | None = None
    authorization: AuthorizationSpec | None = None

    def conflicts(self) -> tuple[tuple[Path, str], ...]:
        """Where fields do not fit each other, and why."""
        known = {provider.name for provider in self.jwt.providers} if self.jwt else set()
        rules = self.authorization.rules if self.authorization else ()
        found: list[tuple[Path, str]] = []
        for number, rule in enumerate(rules):
            token = rule.principal.jwt if rule.principal else None
            if token is not None and token.provider not in known:
                place = ("authorization", "rules", number, "principal", "jwt", "provider")
                found.append((place, f"jwt of this policy has no provider '{token.provider}', so no token is checked"))
        strict = self.jwt is not None and not self.jwt.optional and not self.jwt.fail_open
        if self.oidc is not None and self.oidc.pass_through_auth_header and not strict:
            reason = "jwt of this policy must demand a token, or whoever sends any header Authorization comes in"
            found.append((("oidc", "passThroughAuthHeader"), reason))
        return tuple(found)


class BackendTrafficPolicySpec(MergingTargets):
    """How traffic to backends is handled."""

    timeout: TimeoutSpec | None = None
    retry: RetrySpec | None = None
    circuit_breaker: CircuitBreakerSpec | None = None
    rate_limit: RateLimitSpec | None = None
    load_balancer: LoadBalancerSpec | None = None
    tcp_keepalive: TcpKeepaliveSpec | None = None
    health_check: HealthCheckSpec | None = None
    connection: ConnectionSpec | None = None
    dns: DnsSpec | None = None
    routing_type: RoutingTypeSpec | None = None
    http2: Http2SettingsSpec | None = None
    proxy_protocol: BackendProxyProtocolSpec | None = None
    admission_control: AdmissionControlSpec | None = None
    response_override: Annotated[tuple[ResponseOverrideSpec, ...], Field(min_length=1)] | None = None
    http_upgrade: Annotated[tuple[UpgradeSpec, ...], Field(min_length=1)] | None = None
    use_client_protocol: Bool | None = None
    deny_private_addresses: Bool | None = None
    tunnel: TunnelSpec | None = None
    fault_injection: FaultSpec | None = None
    request_buffer: RequestBufferSpec | None = None
    bandwidth_limit: BandwidthSpec | None = None
    bandwidth_share: BandwidthShareSpec | None = None
    adaptive_concurrency: AdaptiveConcurrencySpec | None = None
    telemetry: TelemetrySpec | None = None
    decompressor: Annotated[tuple[DecompressionSpec, ...], Field(min_length=1)] | None = None
    compressor: Annotated[tuple[CompressionSpec, ...], Field(min_length=1)] | None = None
    compression: Annotated[tuple[CompressionSpec, ...], Field(min_length=1)] | None = None

    def conflicts(self) -> tuple[tuple[Path, str], ...]:
        """Where fields do not fit each other, and why."""
        both = self.compressor is not None and self.compression is not None
        found = ((("compression",), "give either compressor or compression, its older name"),) if both else ()
        ahead = self.connection.preconnect if self.connection else None
        balanced = self.load_balancer.type if self.load_balancer else "RoundRobin"
        if ahead is None or ahead.predictive_percent is None or balanced in ("RoundRobin", "Random"):
            return found
        place = ("connection", "preconnect", "predictivePercent")
        reason = f"with type {balanced} nobody knows who gets the next request; RoundRobin and Random can"
        return (*found, (place, reason))


class ClientTrafficPolicySpec(Targets):
    """How clients of a listener are handled."""

    tls: ClientTlsSpec | None = None
    headers: ClientHeadersSpec | None = None
    path: ClientPathSpec | None = None
    client_ip_detection: Annotated[ClientAddressSpec | None, Field(alias="clientIPDetection")] = None
    proxy_protocol: ClientProxyProtocolSpec | None = None
    enable_proxy_protocol: Bool | None = None
    tcp_keepalive: TcpKeepaliveSpec | None = None
    timeout: ClientTimeoutSpec | None = None
    connection: ClientConnectionSpec | None = None
    http1: ClientHttp1Spec | None = None
    http2: Http2SettingsSpec | None = None
    http3: Http3Spec | None = None
    grpc: ClientGrpcSpec | None = None
    health_check: ClientHealthCheckSpec | None = None
    scheme: Literal["Preserve", "MatchBackend"] | None = None
    peer_header: HeaderName | None = None
    on_invalid_message: Literal["TerminateConnection", "TerminateStream"] | None = None

    def conflicts(self) -> tuple[tuple[Path, str], ...]:
        """Where fields do not fit each other, and why."""
        both = self.proxy_protocol is not None and self.enable_proxy_protocol is not None
        reason = "give either proxyProtocol or enableProxyProtocol, its older form"
        return ((("enableProxyProtocol",), reason),) if both else ()


class HttpRouteFilterSpec(Spec):
    """An extension filter for HTTPRoute rules."""

    url_rewrite: FilterRewriteSpec | None = None
    direct_response: DirectResponseSpec | None = None
    credential_injection: CredentialInjectionSpec | None = None
    priority_class: PriorityClassSpec | None = None
    matches: Annotated[tuple[FilterMatch, ...], Field(max_length=8)] = ()
    peers: PeersSpec | None = None
