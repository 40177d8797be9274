"""TLS towards the backends of a Gateway, where nothing nearer says how: which versions, and which algorithms.

In: `backendTLS` of an EnvoyProxy. Out: changes of the TLS of clusters that speak it, in what `tls` of a Backend does not say;
whom a cluster trusts is never changed. The certificate that is shown is a matter of `attach/proxies.py`. Refused: names that
Envoy does not know, with which it would refuse every cluster, and versions in the wrong order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.tls_names import CIPHERS, CURVES, SIGNATURES
from xds_server.spec import ObjectRef, Spec, Text

Version = Literal["Auto", "1.0", "1.1", "1.2", "1.3"]
_VERSIONS = {
    "1.0": TlsParameters.TLSv1_0,
    "1.1": TlsParameters.TLSv1_1,
    "1.2": TlsParameters.TLSv1_2,
    "1.3": TlsParameters.TLSv1_3,
}
_USUAL = ("1.2", "1.3")
Algorithms = Annotated[tuple[Text, ...], Field(max_length=32)]


class BackendTlsDefaultsSpec(Spec):
    """What counts where a Backend does not say it. `ciphers` are for TLS 1.2 and older."""

    client_certificate_ref: ObjectRef | None = None
    min_version: Version | None = None
    max_version: Version | None = None
    ciphers: Algorithms = ()
    ecdh_curves: Algorithms = ()
    signature_algorithms: Algorithms = ()


@dataclass(frozen=True, slots=True)
class BackendTlsDefaults:
    """Checked settings. Empty: what is usual."""

    versions: tuple[str, str] | None
    ciphers: tuple[str, ...]
    curves: tuple[str, ...]
    signatures: tuple[str, ...]


class BackendTlsFeature(Feature[BackendTlsDefaultsSpec, BackendTlsDefaults]):
    """`backendTLS` of an EnvoyProxy."""

    name = "backend_tls_defaults"
    carriers = (("EnvoyProxy", "backendTLS"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: BackendTlsDefaultsSpec, context: Context) -> BackendTlsDefaults | None:
        """The settings, or None if one of them cannot be, or there are none."""
        good = _names_known(spec, context)
        versions = _versions(spec)
        if versions is not None and versions[0] > versions[1]:
            reason = f"maxVersion {versions[1]} is older than minVersion {versions[0]}"
            context.problem("F103", "maxVersion", reason=reason)
            good = False
        if spec.ciphers and versions is not None and versions[0] == "1.3":
            context.problem("F103", "ciphers", reason="ciphers do nothing for TLS 1.3, and nothing older is spoken")
            good = False
        value = BackendTlsDefaults(versions, spec.ciphers, spec.ecdh_curves, spec.signature_algorithms)
        return value if good and value != BackendTlsDefaults(None, (), (), ()) else None

    def touches_cluster(self, value: BackendTlsDefaults) -> bool:
        """TLS to backends belongs to clusters."""
        return True

    def cluster(self, value: BackendTlsDefaults, parts: ClusterParts) -> None:
        """Fills in what the cluster's own TLS leaves open. A bound of its own keeps both of its bounds."""
        packed = parts.cluster.transport_socket.typed_config
        context = UpstreamTlsContext()
        if not packed.Unpack(context):
            return
        params = context.common_tls_context.tls_params
        if value.versions is not None and not (
            params.tls_minimum_protocol_version or params.tls_maximum_protocol_version
        ):
            params.tls_minimum_protocol_version, params.tls_maximum_protocol_version = (
                _VERSIONS[one] for one in value.versions
            )
        for default, written in (
            (value.ciphers, params.cipher_suites),
            (value.curves, params.ecdh_curves),
            (value.signatures, params.signature_algorithms),
        ):
            if not written:
                written.extend(default)
        packed.CopyFrom(pack(context))


def _versions(spec: BackendTlsDefaultsSpec) -> tuple[str, str] | None:
    """The oldest and the newest version, if one of them is said."""
    lowest, highest = ("" if one in (None, "Auto") else str(one) for one in (spec.min_version, spec.max_version))
    if not lowest and not highest:
        return None
    highest = highest or _USUAL[1]
    return lowest or min(_USUAL[0], highest), highest


def _names_known(spec: BackendTlsDefaultsSpec, context: Context) -> bool:
    good = True
    for field, names, known in (
        ("ciphers", spec.ciphers, CIPHERS),
        ("ecdhCurves", spec.ecdh_curves, CURVES),
        ("signatureAlgorithms", spec.signature_algorithms, SIGNATURES),
    ):
        for number, name in enumerate(names):
            if name not in known or name in names[:number]:
                reason = f"Envoy does not know '{name}'; it knows {', '.join(sorted(known))}"
                reason = f"'{name}' is there twice" if name in known else reason
                context.problem("F103", field, number, reason=reason)
                good = False
    return good


BACKEND_TLS_DEFAULTS = BackendTlsFeature()
