"""Headers of a whole listener: changes of requests before routing and of responses at the very end, and what Envoy does
with headers by itself.

In: `headers` of a ClientTrafficPolicy. Out: an early header mutation of the connection manager, which acts before a
route is chosen, and a header mutation filter in front of all others, which therefore sees every answer of the filter
chain: from backends, from the gateway itself (401, 429, direct responses), the 404 when nothing matched and the 400
for what is no proper HTTP. What is not set of Envoy's own headers stays as safe as it is without a policy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    Mutations,
)
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.headers import HeaderChanges, HeaderFilterSpec, mutations, resolve_changes
from xds_server.features.parts.values import size, uint32
from xds_server.spec import Bool, Quantity, Spec

_LARGEST = 8192
_RATE_LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_CERTIFICATE = {
    "Sanitize": HttpConnectionManager.SANITIZE,
    "ForwardOnly": HttpConnectionManager.FORWARD_ONLY,
    "AppendForward": HttpConnectionManager.APPEND_FORWARD,
    "SanitizeSet": HttpConnectionManager.SANITIZE_SET,
    "AlwaysForwardOnly": HttpConnectionManager.ALWAYS_FORWARD_ONLY,
}
_UNDERSCORES = {
    "Allow": HttpProtocolOptions.ALLOW,
    "RejectRequest": HttpProtocolOptions.REJECT_REQUEST,
    "DropHeader": HttpProtocolOptions.DROP_HEADER,
}


class ClientCertificateHeaderSpec(Spec):
    """The header `x-forwarded-client-cert`; the details are of the client's certificate."""

    mode: Literal["Sanitize", "ForwardOnly", "AppendForward", "SanitizeSet", "AlwaysForwardOnly"] = "Sanitize"
    cert_details_to_add: Annotated[
        tuple[Literal["Subject", "Cert", "Chain", "DNS", "URI"], ...], Field(max_length=5)
    ] = ()


class HostHeaderSpec(Spec):
    """The header `Host`."""

    strip_trailing_host_dot: Bool | None = None


class ClientHeadersSpec(Spec):
    """Headers between clients and the gateway. `preserveXRequestID` is an older way to say `requestID: Preserve...`."""

    early_request_headers: HeaderFilterSpec | None = None
    late_response_headers: HeaderFilterSpec | None = None
    enable_envoy_headers: Bool = False
    disable_rate_limit_headers: Bool = False
    x_forwarded_client_cert: ClientCertificateHeaderSpec | None = None
    with_underscores_action: Literal["Allow", "RejectRequest", "DropHeader"] | None = None
    preserve_x_request_id: Annotated[Bool | None, Field(alias="preserveXRequestID")] = None
    request_id: Annotated[
        Literal["PreserveOrGenerate", "Preserve", "Generate", "Disable"] | None, Field(alias="requestID")
    ] = None
    host: HostHeaderSpec | None = None
    max_request_header_limit: Quantity | None = None


@dataclass(frozen=True, slots=True)
class EnvoyHeaders:
    """What Envoy does by itself; None leaves the default. `size` is in KiB."""

    told: bool = False
    certificate: str = "Sanitize"
    details: tuple[str, ...] = ()
    underscores: str | None = None
    request_id: str | None = None
    strips_dot: bool | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ClientHeaders:
    """Changes to requests before routing and to responses at the end."""

    requests: HeaderChanges
    responses: HeaderChanges
    own: EnvoyHeaders = EnvoyHeaders()


class EarlyHeaders(Feature[ClientHeadersSpec, ClientHeaders]):
    """`headers` of a ClientTrafficPolicy."""

    name = "early_headers"
    carriers = (("ClientTrafficPolicy", "headers"),)

    def resolve(self, spec: ClientHeadersSpec, context: Context) -> ClientHeaders | None:
        """Both sets of changes."""
        requests = resolve_changes(spec.early_request_headers or HeaderFilterSpec(), context, "earlyRequestHeaders")
        responses = resolve_changes(spec.late_response_headers or HeaderFilterSpec(), context, "lateResponseHeaders")
        own = _own(spec, context)
        if requests is None or responses is None or own is None:
            return None
        if spec.disable_rate_limit_headers:
            responses = replace(responses, remove=(*responses.remove, *_RATE_LIMITS))
        return ClientHeaders(requests, responses, own)

    def router(self, value: ClientHeaders, router: Router, chain: str) -> None:
        """Whether the router tells of itself."""
        router.suppress_envoy_headers = not value.own.told

    def chain(self, value: ClientHeaders, manager: HttpConnectionManager) -> None:
        """Settings, an extension for requests, a filter for responses."""
        _set_own(value.own, manager)
        early = mutations(value.requests)
        if early:
            manager.early_header_mutation_extensions.append(
                TypedExtensionConfig(
                    name="envoy.http.early_header_mutation.header_mutation",
                    typed_config=pack(EarlyHeaderMutation(mutations=early)),
                )
            )
        late = mutations(value.responses)
        if late:
            config = HeaderMutation(mutations=Mutations(response_mutations=late))
            manager.http_filters.add(name="envoy.filters.http.header_mutation", typed_config=pack(config))


def _own(spec: ClientHeadersSpec, context: Context) -> EnvoyHeaders | None:
    """What Envoy does by itself; None after a problem was reported."""
    certificate = spec.x_forwarded_client_cert or ClientCertificateHeaderSpec()
    good = True
    if certificate.cert_details_to_add and certificate.mode not in ("AppendForward", "SanitizeSet"):
        reason = f"mode {certificate.mode} adds nothing; AppendForward and SanitizeSet do"
        context.problem("F103", "xForwardedClientCert", "certDetailsToAdd", reason=reason)
        good = False
    if spec.request_id is not None and spec.preserve_x_request_id is not None:
        reason = "give either requestID or preserveXRequestID, its older form"
        context.problem("F103", "preserveXRequestID", reason=reason)
        good = False
    limit = size(spec.max_request_header_limit)
    if limit is not None and (limit % 1024 or not 1 <= limit // 1024 <= _LARGEST):
        reason = f"maxRequestHeaderLimit must be whole KiB, from 1Ki to {_LARGEST}Ki"
        context.problem("F103", "maxRequestHeaderLimit", reason=reason)
        good = False
    if not good:
        return None
    return EnvoyHeaders(
        spec.enable_envoy_headers,
        certificate.mode,
        certificate.cert_details_to_add,
        spec.with_underscores_action,
        "PreserveOrGenerate" if spec.preserve_x_request_id else spec.request_id,
        spec.host.strip_trailing_host_dot if spec.host else None,
        None if limit is None else limit // 1024,
    )


def _set_own(value: EnvoyHeaders, manager: HttpConnectionManager) -> None:
    manager.forward_client_cert_details = _CERTIFICATE[value.certificate]
    details = manager.set_current_client_cert_details
    details.subject.value = "Subject" in value.details
    details.cert, details.chain = "Cert" in value.details, "Chain" in value.details
    details.dns, details.uri = "DNS" in value.details, "URI" in value.details
    if value.underscores is not None:
        manager.common_http_protocol_options.headers_with_underscores_action = _UNDERSCORES[value.underscores]
    if value.request_id is not None:
        manager.generate_request_id.value = value.request_id in ("PreserveOrGenerate", "Generate")
        manager.preserve_external_request_id = value.request_id in ("PreserveOrGenerate", "Preserve")
    if value.strips_dot is not None:
        manager.strip_trailing_host_dot = value.strips_dot
    if value.size is not None:
        manager.max_request_headers_kb.CopyFrom(uint32(value.size))


EARLY_HEADERS = EarlyHeaders()
