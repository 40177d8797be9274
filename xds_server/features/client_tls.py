"""TLS between clients and the gateway: versions, algorithms, session resumption.

In: `tls` of a ClientTrafficPolicy. Out: changes of the TLS of its listeners. Without a policy it is TLS 1.2 or 1.3 with
what Envoy offers. Refused: names that Envoy does not know, with which it would refuse the whole listener, and versions
in the wrong order. What clients must show is in `parts/client_certificates.py`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.client_certificates import (
    ClientCertificates,
    ClientValidationSpec,
    fill_validation,
    resolve_validation,
)
from xds_server.features.parts.tls_names import CIPHERS, CURVES, SIGNATURES
from xds_server.spec import Spec, Text

Version = Literal["Auto", "1.0", "1.1", "1.2", "1.3"]
_VERSIONS = {
    "1.0": TlsParameters.TLSv1_0,
    "1.1": TlsParameters.TLSv1_1,
    "1.2": TlsParameters.TLSv1_2,
    "1.3": TlsParameters.TLSv1_3,
}
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
_DEFAULTS = {"minVersion": "1.2", "maxVersion": "1.3"}
Names = Annotated[tuple[Text, ...], Field(max_length=32)]


class EmptySpec(Spec):
    """Its presence is all that it says."""


class ResumptionSpec(Spec):
    """What is there is on: `stateless` are tickets, `stateful` identifiers of sessions that the Envoy keeps."""

    stateless: EmptySpec | None = None
    stateful: EmptySpec | None = None


class SessionSpec(Spec):
    """Sessions that are taken up again."""

    resumption: ResumptionSpec = ResumptionSpec()


class ClientTlsSpec(Spec):
    """TLS of listeners. `ciphers` are for TLS 1.2 and older; TLS 1.3 has its own, which cannot be chosen."""

    min_version: Version | None = None
    max_version: Version | None = None
    ciphers: Names = ()
    ecdh_curves: Names = ()
    signature_algorithms: Names = ()
    alpn_protocols: Annotated[tuple[Literal["http/1.0", "http/1.1", "h2"], ...], Field(max_length=3)] | None = None
    session: SessionSpec | None = None
    client_validation: ClientValidationSpec | None = None
    fingerprints: Annotated[tuple[Literal["JA3", "JA4"], ...], Field(max_length=2)] = ()


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Checked settings. `tickets` and `sessions` None leave Envoy's default, which is on."""

    lowest: str
    highest: str
    ciphers: tuple[str, ...]
    curves: tuple[str, ...]
    signatures: tuple[str, ...]
    protocols: tuple[str, ...] | None
    tickets: bool | None
    sessions: bool | None
    validation: ClientCertificates | None
    fingerprints: tuple[str, ...] = ()


class ClientTlsFeature(Feature[ClientTlsSpec, ClientTls]):
    """`tls` of a ClientTrafficPolicy."""

    name = "client_tls"
    carriers = (("ClientTrafficPolicy", "tls"),)
    transports = ("http", "tcp")
    needs_tls = True

    def resolve(self, spec: ClientTlsSpec, context: Context) -> ClientTls | None:
        """The settings, or None if one of them cannot be."""
        good = _names_known(spec, context)
        lowest = _version(spec.min_version, "minVersion")
        highest = _version(spec.max_version, "maxVersion")
        if lowest > highest:
            reason = f"clients cannot speak TLS {lowest} or newer and {highest} or older; raise maxVersion"
            context.problem("F103", "maxVersion" if spec.max_version else "minVersion", reason=reason)
            good = False
        if spec.ciphers and lowest == "1.3":
            context.problem("F103", "ciphers", reason="ciphers do nothing for TLS 1.3, and nothing older is served")
            good = False
        if good and lowest < "1.2":
            context.problem("F150", "minVersion", version=lowest)
        validation = resolve_validation(spec.client_validation, context) if spec.client_validation else None
        if not good or (spec.client_validation is not None and validation is None):
            return None
        resumption = spec.session.resumption if spec.session else None
        return ClientTls(
            lowest,
            highest,
            spec.ciphers,
            spec.ecdh_curves,
            spec.signature_algorithms,
            spec.alpn_protocols,
            None if resumption is None else resumption.stateless is not None,
            None if resumption is None else resumption.stateful is not None,
            validation,
            tuple(sorted(set(spec.fingerprints))),
        )

    def downstream_tls(self, value: ClientTls, context: DownstreamTlsContext) -> None:
        """What is set. Over QUIC there is TLS 1.3 with its own protocol, whatever is set."""
        common = context.common_tls_context
        common.tls_params.tls_minimum_protocol_version = _VERSIONS[value.lowest]
        common.tls_params.tls_maximum_protocol_version = _VERSIONS[value.highest]
        common.tls_params.cipher_suites.extend(value.ciphers)
        common.tls_params.ecdh_curves.extend(value.curves)
        common.tls_params.signature_algorithms.extend(value.signatures)
        if value.protocols is not None and "h3" not in common.alpn_protocols:
            common.alpn_protocols[:] = value.protocols
        if value.tickets is not None:
            context.disable_stateless_session_resumption = not value.tickets
        if value.sessions is not None:
            context.disable_stateful_session_resumption = not value.sessions
        if value.validation is not None:
            context.require_client_certificate.value = value.validation.required
            fill_validation(common.validation_context, value.validation)

    def port_wide(self, value: ClientTls) -> Hashable:
        """The beginning of TLS is read before it is known for which listener it is."""
        return value.fingerprints or None

    def listener(self, value: ClientTls, listener: Listener) -> None:
        """Have fingerprints taken of the beginning of TLS."""
        for one in listener.listener_filters:
            if one.name == TLS_INSPECTOR:
                inspector = TlsInspector()
                one.typed_config.Unpack(inspector)
                inspector.enable_ja3_fingerprinting.value = "JA3" in value.fingerprints
                inspector.enable_ja4_fingerprinting.value = "JA4" in value.fingerprints
                one.typed_config.CopyFrom(pack(inspector))

    def checks_clients(self, value: ClientTls) -> bool:
        """True if certificates are asked for."""
        return value.validation is not None

    def takes_any_certificate(self, value: ClientTls) -> bool:
        """True if nobody checks who has signed them."""
        return value.validation is not None and not value.validation.proves_names

    def no_quic(self, value: ClientTls) -> str:
        """QUIC is TLS 1.3 without certificates of clients."""
        if value.validation is not None:
            return "clients show certificates there, and over QUIC nothing would check them"
        return "" if value.highest == "1.3" else f"it ends at TLS {value.highest}, and QUIC begins with 1.3"


def _version(written: str | None, field: str) -> str:
    return _DEFAULTS[field] if written in (None, "Auto") else str(written)


def _names_known(spec: ClientTlsSpec, context: Context) -> bool:
    """True if Envoy knows every name; else each one that it does not know is reported."""
    good = True
    listed = (
        ("ciphers", spec.ciphers, CIPHERS),
        ("ecdhCurves", spec.ecdh_curves, CURVES),
        ("signatureAlgorithms", spec.signature_algorithms, SIGNATURES),
    )
    for field, names, known in listed:
        for number, name in enumerate(names):
            if name not in known:
                hint = f"known: {', '.join(sorted(known))}"
                context.problem("F103", field, number, hint=hint, reason=f"Envoy does not know '{name}' in {field}")
                good = False
            elif name in names[:number]:
                context.problem("F103", field, number, reason=f"'{name}' is in {field} twice")
                good = False
    return good


CLIENT_TLS = ClientTlsFeature()
