"""TLS on both sides: secrets, the context of a listener's chain, the context of a cluster.

In: certificates and `graph.BackendTls`. Out: transport sockets and `Secret`s. Private keys stand in secrets only,
never in a listener. A backend's certificate is verified, unless its own user says otherwise, and its name compared
exactly; TLS to a backend of which no name is known is refused unless it brings its own authorities.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import TransportSocket
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from xds_server.features.contract import AnyFeature, pack
from xds_server.features.parts.patterns import exact
from xds_server.features.parts.values import ads
from xds_server.graph import AltName, Backend, BackendTls, Certificate, Chain, ClientValidation, HttpChain, SecretValue

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu and Alpine, and so Envoy's own images, keep the system's certificate authorities."""
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  (a type, not a secret)
_NAME = "envoy.transport_sockets.tls"
_VERSIONS = {
    "": TlsParameters.TLS_AUTO,
    "1.0": TlsParameters.TLSv1_0,
    "1.1": TlsParameters.TLSv1_1,
    "1.2": TlsParameters.TLSv1_2,
    "1.3": TlsParameters.TLSv1_3,
}


def translate_secret(certificate: Certificate) -> Secret:
    """A certificate with its key."""
    secret = Secret(name=certificate.name)
    secret.tls_certificate.certificate_chain.inline_bytes = certificate.chain
    secret.tls_certificate.private_key.inline_bytes = certificate.key
    return secret


def translate_authorities(validation: ClientValidation) -> Secret:
    """Whom clients' certificates must be signed by."""
    secret = Secret(name=validation.name)
    secret.validation_context.trusted_ca.inline_string = validation.ca
    if validation.insecure:
        secret.validation_context.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    return secret


def translate_value(held: SecretValue) -> Secret:
    """A secret of a filter."""
    secret = Secret(name=held.name)
    secret.generic_secret.secret.inline_bytes = held.value.value
    return secret


def listener_values(chain: Chain, feature: AnyFeature) -> list[Any]:
    """What a feature shall do for the listeners of a chain."""
    return [setting.value for setting in chain.settings if setting.feature == feature.name]


def downstream_socket(chain: Chain, features: Iterable[AnyFeature]) -> TransportSocket:
    """TLS over TCP; for requests HTTP/2 or HTTP/1.1, for streams whatever is in it."""
    context = downstream_context(chain, ("h2", "http/1.1") if isinstance(chain, HttpChain) else (), features)
    return TransportSocket(name=_NAME, typed_config=pack(context))


def downstream_context(chain: Chain, protocols: Iterable[str], features: Iterable[AnyFeature]) -> DownstreamTlsContext:
    """TLS 1.2 or 1.3 with the chain's certificates, and with what clients must show. `protocols` are offered by ALPN."""
    context = DownstreamTlsContext()
    common = context.common_tls_context
    common.alpn_protocols.extend(protocols)
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    for certificate in chain.certificates:
        common.tls_certificate_sds_secret_configs.add(name=certificate.name, sds_config=ads())
    if isinstance(chain, HttpChain) and chain.validation is not None:
        common.validation_context_sds_secret_config.name = chain.validation.name
        common.validation_context_sds_secret_config.sds_config.CopyFrom(ads())
        context.require_client_certificate.value = not chain.validation.insecure
    for feature in features:
        for value in listener_values(chain, feature):
            feature.downstream_tls(value, context)
    return context


def upstream_problem(tls: BackendTls) -> str:
    """Why TLS to a backend would prove nothing; empty if it does."""
    if not tls.verified or tls.by_endpoint or tls.ca or tls.san or tls.sni or tls.alternatives:
        return ""
    return "TLS needs a name (sni) or authorities that the backend's certificate is checked against"


def upstream_socket(backend: Backend, tls: BackendTls, client: Certificate | None) -> TransportSocket:
    """TLS to a backend whose certificate must carry its name. `client` is what the gateway shows."""
    context = UpstreamTlsContext(
        sni=tls.sni, auto_host_sni=tls.by_endpoint, auto_sni_san_validation=tls.by_endpoint and tls.verified
    )
    common = context.common_tls_context
    if tls.protocols:
        common.alpn_protocols.extend(tls.protocols)
    elif backend.protocol != "tcp":
        common.alpn_protocols.append("h2" if backend.protocol == "h2c" else "http/1.1")
    lowest, highest = (_VERSIONS[one] for one in tls.versions)
    common.tls_params.tls_minimum_protocol_version = lowest
    common.tls_params.tls_maximum_protocol_version = highest
    common.tls_params.cipher_suites.extend(tls.ciphers)
    common.tls_params.ecdh_curves.extend(tls.curves)
    common.tls_params.signature_algorithms.extend(tls.signatures)
    if tls.verified:
        common.validation_context.CopyFrom(_validation(tls))
    if client is not None:
        common.tls_certificate_sds_secret_configs.add(name=client.name, sds_config=ads())
    return TransportSocket(name=_NAME, typed_config=pack(context))


def _validation(tls: BackendTls) -> CertificateValidationContext:
    """Whom the backend's certificate must be signed by, and what names it must have."""
    validation = CertificateValidationContext()
    if tls.ca:
        validation.trusted_ca.inline_string = tls.ca
    else:
        validation.trusted_ca.filename = SYSTEM_AUTHORITIES
    name = "" if tls.by_endpoint else tls.san or tls.sni
    for one in tls.alternatives or ((AltName("DNS", name),) if name else ()):
        type_ = SubjectAltNameMatcher.DNS if one.type == "DNS" else SubjectAltNameMatcher.URI
        validation.match_typed_subject_alt_names.add(san_type=type_, matcher=exact(one.value))
    return validation
