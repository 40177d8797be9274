"""What the features of listeners accept and refuse, and where they point when they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.e2e.certificates import Authority
from tests.translate.graphs import Reporter, feature
from xds_server.features import FEATURES
from xds_server.features.backend_tls_defaults import BackendTlsDefaultsSpec
from xds_server.features.client_address import ClientAddressSpec
from xds_server.features.client_connection import ClientConnectionSpec
from xds_server.features.client_grpc import ClientGrpcSpec
from xds_server.features.client_health_check import ClientHealthCheckSpec
from xds_server.features.client_http1 import ClientHttp1Spec
from xds_server.features.client_path import ClientPathSpec
from xds_server.features.client_timeout import ClientTimeoutSpec
from xds_server.features.client_tls import ClientTlsSpec
from xds_server.features.early_headers import ClientHeadersSpec
from xds_server.features.filter_order import FilterPositionSpec
from xds_server.features.http3 import Http3Spec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.features.parts.keepalive import TcpKeepaliveSpec
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.spec import Spec

SPECS: dict[str, type[Spec]] = {
    "access_log": ProxyTelemetrySpec,
    "backend_tls_defaults": BackendTlsDefaultsSpec,
    "metrics": ProxyTelemetrySpec,
    "health_log": ProxyTelemetrySpec,
    "client_address": ClientAddressSpec,
    "client_connection": ClientConnectionSpec,
    "client_health_check": ClientHealthCheckSpec,
    "client_http1": ClientHttp1Spec,
    "client_http2": Http2SettingsSpec,
    "client_keepalive": TcpKeepaliveSpec,
    "client_timeout": ClientTimeoutSpec,
    "client_tls": ClientTlsSpec,
    "early_headers": ClientHeadersSpec,
}
AUTHORITY = Authority()
SECRETS = {
    "ca": {"ca.crt": AUTHORITY.certificate},
    "empty": {"other": "x"},
    "text": {"ca.crt": "none", "ca.crl": "none"},
    "endless": {"ca.crl": "-----BEGIN X509 CRL-----" * 200_000},
    "torn": {"ca.crl": "-----BEGIN X509 CRL-----\nMAo=\n-----END X509 CRL-----"},
}
CA = [{"name": "ca"}]
CHECKED = ("clientValidation",)
Place = tuple[str | int, ...]


def asks(**written: Any) -> dict[str, Any]:
    return {"clientValidation": written}


CASES: list[tuple[str, Any, str, Place]] = [
    ("early_headers", {"xForwardedClientCert": {"certDetailsToAdd": ["URI"]}},
     "F103", ("xForwardedClientCert", "certDetailsToAdd")),
    ("early_headers", {"requestID": "Generate", "preserveXRequestID": True}, "F103", ("preserveXRequestID",)),
    ("early_headers", {"maxRequestHeaderLimit": "1000"}, "F103", ("maxRequestHeaderLimit",)),
    ("early_headers", {"maxRequestHeaderLimit": "8193Ki"}, "F103", ("maxRequestHeaderLimit",)),
    ("early_headers", {"maxRequestHeaderLimit": 0}, "F103", ("maxRequestHeaderLimit",)),
    ("client_address", {}, "F103", ()),
    ("client_address", {"directSourceIP": {}, "customHeader": {"name": "x"}}, "F103", ()),
    ("client_address", {"xForwardedFor": {}}, "F103", ("xForwardedFor",)),
    ("client_address", {"xForwardedFor": {"numTrustedHops": 1, "trustedCIDRs": ["10.0.0.0/8"]}},
     "F103", ("xForwardedFor",)),
    ("client_address", {"xForwardedFor": {"trustedCIDRs": ["10.0.0.0/8", "10.0.0.1/8"]}},
     "F103", ("xForwardedFor", "trustedCIDRs", 1)),
    ("client_connection", {"bufferLimit": "0"}, "F103", ("bufferLimit",)),
    ("client_connection", {"socketBufferLimit": "2Gi"}, "F103", ("socketBufferLimit",)),
    ("client_connection", {"connectionLimit": {"closeDelay": "1s"}}, "F103", ("connectionLimit", "closeDelay")),
    ("client_connection", {"connectionLimit": {"maxStreamDuration": "0s"}},
     "F103", ("connectionLimit", "maxStreamDuration")),
    ("client_connection", {"connectionLimit": {"maxConnectionDuration": "0s"}},
     "F103", ("connectionLimit", "maxConnectionDuration")),
    ("client_health_check", {"path": "alive"}, "F103", ("path",)),
    ("client_http1", {"http10": {"useDefaultHost": True}}, "F102", ("http10", "useDefaultHost")),
    ("client_http1", {"ignoredUpgradeTypes": [{"type": "RegularExpression", "value": "("}]},
     "F100", ("ignoredUpgradeTypes", 0, "value")),
    ("client_http2", {"initialStreamWindowSize": 1}, "F103", ("initialStreamWindowSize",)),
    ("client_keepalive", {"interval": "500ms"}, "F103", ("interval",)),
    ("client_tls", {"minVersion": "1.3", "maxVersion": "1.2"}, "F103", ("maxVersion",)),
    ("client_tls", {"maxVersion": "1.1"}, "F103", ("maxVersion",)),
    ("client_tls", {"minVersion": "1.3", "ciphers": ["AES128-SHA"]}, "F103", ("ciphers",)),
    ("client_tls", {"ciphers": ["AES128-SHA", "RC4-MD5"]}, "F103", ("ciphers", 1)),
    ("client_tls", {"ecdhCurves": ["P-256", "P-256"]}, "F103", ("ecdhCurves", 1)),
    ("client_tls", {"signatureAlgorithms": ["md5"]}, "F103", ("signatureAlgorithms", 0)),
    ("backend_tls_defaults", {"ecdhCurves": ["P-256", "P-256"]}, "F103", ("ecdhCurves", 1)),
    ("backend_tls_defaults", {"minVersion": "1.3", "maxVersion": "1.2"}, "F103", ("maxVersion",)),
    ("client_tls", asks(), "F103", CHECKED),
    ("client_tls", asks(mode="RequireAny"), "F103", CHECKED),
    ("client_tls", asks(mode="Request", optional=True), "F103", (*CHECKED, "optional")),
    ("client_tls", asks(mode="Request", spkiHashes=["0" * 43 + "="]), "F103", (*CHECKED, "spkiHashes")),
    ("client_tls", asks(mode="VerifyIfGiven", certificateHashes=["00" * 32]), "F103", (*CHECKED, "mode")),
    ("client_tls", asks(certificateHashes=["00" * 32], subjectAltNames={"uris": [{"value": "a"}]}),
     "F103", (*CHECKED, "subjectAltNames")),
    ("client_tls", asks(caCertificateRefs=CA, spkiHashes=["x" * 44]), "F103", (*CHECKED, "spkiHashes", 0)),
    ("client_tls", asks(caCertificateRefs=CA, certificateHashes=["00"]), "F103", (*CHECKED, "certificateHashes", 0)),
    ("client_tls", asks(caCertificateRefs=[{"name": "gone"}]), "A105", (*CHECKED, "caCertificateRefs", 0)),
    ("client_tls", asks(caCertificateRefs=[*CA, {"name": "empty"}]), "A104", (*CHECKED, "caCertificateRefs", 1)),
    ("client_tls", asks(caCertificateRefs=[{"name": "text"}]), "A104", (*CHECKED, "caCertificateRefs", 0)),
    ("client_tls", asks(caCertificateRefs=CA, crl={"refs": [{"name": "text"}]}), "A104", (*CHECKED, "crl", "refs", 0)),
    ("client_tls", asks(caCertificateRefs=CA, crl={"refs": [{"name": "torn"}]}), "A104", (*CHECKED, "crl", "refs", 0)),
    ("client_tls", asks(caCertificateRefs=CA, crl={"refs": [{"name": "endless"}]}), "A104", (*CHECKED, "crl", "refs", 0)),
    ("client_tls", asks(caCertificateRefs=CA, subjectAltNames={"dnsNames": [{"type": "RegularExpression", "value": "("}]}),
     "F100", (*CHECKED, "subjectAltNames", "dnsNames", 0, "value")),
]  # fmt: skip


def resolve(name: str, written: Any) -> tuple[Any, Reporter]:
    reporter = Reporter(secrets=SECRETS)
    return feature(name).resolve(SPECS[name].model_validate(written), reporter), reporter


@pytest.mark.parametrize(("name", "written", "code", "path"), CASES, ids=range(len(CASES)))
def test_refusals_name_their_place(name: str, written: Any, code: str, path: Place) -> None:
    value, reporter = resolve(name, written)
    assert value is None
    assert [(one[0], one[1]) for one in reporter.found] == [(code, path)]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("client_tls", {"minVersion": 1.2}),
        ("client_tls", {"alpnProtocols": ["h3"]}),
        ("client_tls", asks(caCertificateRefs=[{"kind": "ClusterTrustBundle", "name": "x"}])),
        ("client_tls", asks(caCertificateRefs=CA, crl={"refs": []})),
        ("client_tls", asks(caCertificateRefs=CA, subjectAltNames={"otherNames": [{"oid": "x", "value": "a"}]})),
        ("client_address", {"customHeader": {"name": "x y"}}),
        ("client_address", {"xForwardedFor": {"numTrustedHops": 0}}),
        ("client_connection", {"connectionLimit": {"value": 0}}),
        ("client_timeout", {"http": {"idleTimeout": "1.5s"}}),
        ("early_headers", {"xForwardedClientCert": {"certDetailsToAdd": ["Serial"]}}),
    ],
)
def test_specs_refuse_what_no_one_can_mean(name: str, written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPECS[name].model_validate(written)


def test_old_versions_are_taken_with_a_warning() -> None:
    value, reporter = resolve("client_tls", {"minVersion": "1.0"})
    assert value is not None
    assert [(one[0], one[1]) for one in reporter.found] == [("F150", ("minVersion",))]


SAMPLES: dict[str, Any] = {
    "access_log": {"accessLog": {}},
    "backend_tls_defaults": {"minVersion": "1.3"},
    "metrics": {"metrics": {"enableGRPCStats": True}},
    "health_log": {"healthCheckLog": {}},
    "client_address": {"xForwardedFor": {"trustedCIDRs": ["10.0.0.0/8"]}},
    "client_connection": {"connectionLimit": {"value": 1}},
    "client_health_check": {"path": "/a"},
    "client_tls": asks(caCertificateRefs=CA),
}
PLAIN: dict[str, Any] = {
    "client_messages": "TerminateStream",
    "client_grpc": ClientGrpcSpec.model_validate({"enableWeb": True}),
    "client_path": ClientPathSpec.model_validate({"escapedSlashesAction": "KeepUnchanged"}),
    "client_proxy_protocol": True,
    "client_scheme": "MatchBackend",
    "filter_order": (
        FilterPositionSpec.model_validate({"name": "envoy.filters.http.fault", "after": "envoy.filters.http.cors"}),
    ),
    "http3": Http3Spec(),
    "ip_family": "IPv6",
    "peer_header": "x-peer",
}


def test_values_are_frozen_and_hashable() -> None:
    for one in FEATURES:
        if not one.carriers or not {kind for kind, _ in one.carriers} <= {"ClientTrafficPolicy", "EnvoyProxy"}:
            continue
        written = PLAIN.get(one.name) or SPECS[one.name].model_validate(SAMPLES.get(one.name, {}))
        first, second = (one.resolve(written, Reporter(secrets=SECRETS)) for _ in range(2))
        assert first is not None, one.name
        assert hash(first) == hash(second), one.name
        assert first == second, one.name


def test_what_is_switched_off_is_as_if_it_were_not_there() -> None:
    for name, written in (
        ("client_grpc", ClientGrpcSpec()),
        ("client_proxy_protocol", False),
        ("client_scheme", "Preserve"),
    ):
        assert feature(name).resolve(written, Reporter()) is None
