"""What the features of requests and answers on their way accept and refuse, and where they point when they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.translate.graphs import Listed, Reporter, feature
from xds_server.features.adaptive_concurrency import AdaptiveConcurrencySpec
from xds_server.features.admission_control import AdmissionControlSpec
from xds_server.features.bandwidth import BandwidthSpec
from xds_server.features.bandwidth_share import BandwidthShareSpec
from xds_server.features.compression import CompressionSpec
from xds_server.features.credential_injection import CredentialInjectionSpec
from xds_server.features.decompression import DecompressionSpec
from xds_server.features.fault import FaultSpec
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.parts.route_telemetry import TelemetrySpec
from xds_server.features.request_buffer import RequestBufferSpec
from xds_server.features.response_override import ResponseOverrideSpec
from xds_server.model.policies import BackendTrafficPolicySpec
from xds_server.spec import Spec

SPECS: dict[str, type[Spec] | Listed] = {
    "adaptive_concurrency": AdaptiveConcurrencySpec,
    "bandwidth_share": BandwidthShareSpec,
    "decompression": Listed(DecompressionSpec),
    "telemetry": TelemetrySpec,
    "admission_control": AdmissionControlSpec,
    "bandwidth": BandwidthSpec,
    "compression": Listed(CompressionSpec),
    "credential_injection": CredentialInjectionSpec,
    "fault": FaultSpec,
    "http_upgrade": Listed(UpgradeSpec),
    "request_buffer": RequestBufferSpec,
    "response_override": Listed(ResponseOverrideSpec),
}
SECRETS = {"backend": {"credential": "Bearer t"}, "torn": {"credential": "a\nb"}, "keys": {"ann": "k-1"}}
RATE = {"limit": {"value": "1Mi", "unit": "Second"}}
BROKEN = {"statusCodes": [{"value": 500}]}


def injected(name: str) -> dict[str, Any]:
    return {"credential": {"valueRef": {"name": name}}}


CASES: list[tuple[str, Any, str, tuple[str | int, ...]]] = [
    ("credential_injection", injected("gone"), "A105", ("credential", "valueRef")),
    ("credential_injection", injected("keys"), "F140", ("credential", "valueRef")),
    ("credential_injection", injected("torn"), "F140", ("credential", "valueRef")),
    ("credential_injection", {**injected("backend"), "header": "Host"}, "F101", ("header",)),
    ("http_upgrade", [{"type": "h9"}, {"type": "H9"}], "F103", (1, "type")),
    ("http_upgrade", [{"type": "h9", "connect": {}}], "F103", (0, "connect")),
    ("response_override", [{"match": {}, "response": {}}], "F103", (0, "match")),
    ("response_override", [{"match": BROKEN}], "F103", (0,)),
    ("response_override", [{"match": BROKEN, "redirect": {}}], "F103", (0, "redirect")),
    ("response_override", [{"match": BROKEN, "redirect": {}, "response": {}}], "F103", (0,)),
    ("response_override", [{"match": BROKEN, "redirect": {"scheme": "https"}}], "F103", (0, "redirect")),
    ("response_override", [{"match": BROKEN, "redirect": {"path": {"type": "ReplaceFullPath"}}}],
     "F103", (0, "redirect", "path")),
    ("response_override", [{"match": BROKEN, "redirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
     "F102", (0, "redirect", "path", "type")),
    ("response_override", [{"match": {}, "redirect": {"hostname": "a.example"}}], "F103", (0, "match")),
    ("response_override", [{"match": {"statusCodes": [{"type": "Range", "value": 500}]}, "response": {}}],
     "F103", (0, "match", "statusCodes", 0)),
    ("response_override", [{"match": {"statusCodes": [{"type": "Range", "range": {"start": 500, "end": 400}}]}, "response": {}}],
     "F103", (0, "match", "statusCodes", 0, "range")),
    ("response_override", [{"match": {"responseHeaders": [{"name": "a", "value": {"type": "RegularExpression", "value": "("}}]},
     "response": {}}], "F100", (0, "match", "responseHeaders", 0, "value", "value")),
    ("response_override", [{"match": BROKEN, "response": {"header": {"remove": ["a"]}}}],
     "F103", (0, "response", "header", "remove")),
    ("response_override", [{"match": BROKEN, "response": {"header": {"set": [{"name": "Host", "value": "a"}]}}}],
     "F101", (0, "response", "header", "set", 0)),
    ("response_override", [{"match": BROKEN, "response": {"body": {"type": "ValueRef", "valueRef": {"name": "gone"}}}}],
     "A105", (0, "response", "body", "valueRef")),
    ("admission_control", {"samplingWindow": "0s"}, "F103", ("samplingWindow",)),
    ("admission_control", {"samplingWindow": "1500ms"}, "F103", ("samplingWindow",)),
    ("adaptive_concurrency", {"updateInterval": "0s"}, "F103", ("updateInterval",)),
    ("adaptive_concurrency", {"baseline": {"interval": "0s"}}, "F103", ("baseline", "interval")),
    ("adaptive_concurrency", {"baseline": {"fixed": "0s"}}, "F103", ("baseline", "fixed")),
    ("adaptive_concurrency", {"minLimit": 9, "maxLimit": 8}, "F103", ("minLimit",)),
    ("bandwidth_share", {}, "F103", ()),
    ("bandwidth_share", {"response": RATE, "client": {"type": "Header"}}, "F103", ("client",)),
    ("bandwidth_share", {"response": RATE, "client": {"header": "a"}}, "F103", ("client",)),
    ("bandwidth_share", {"response": RATE, "weights": [{"client": "a", "weight": 1}, {"client": "a", "weight": 2}]},
     "F103", ("weights",)),
    ("bandwidth_share", {"request": {"limit": {"value": 9, "unit": "Hour"}}}, "F120", ("request", "limit", "value")),
    ("decompression", [{"type": "Gzip"}, {"type": "Gzip"}], "F103", (1, "type")),
    ("telemetry", {"metrics": {"routeStatName": "a%ROUTE_NAM%"}}, "F103", ("metrics", "routeStatName")),
    ("telemetry", {"metrics": {"routeStatName": "50%"}}, "F103", ("metrics", "routeStatName")),
    ("fault", {}, "F103", ()),
    ("fault", {"delay": {"fixedDelay": "0s"}}, "F103", ("delay", "fixedDelay")),
    ("fault", {"delay": {"fixedDelay": "1s", "percentage": 0.00001}}, "F103", ("delay", "percentage")),
    ("fault", {"abort": {}}, "F103", ("abort",)),
    ("fault", {"abort": {"httpStatus": 500, "grpcStatus": 2}}, "F103", ("abort",)),
    ("compression", [{"type": "Gzip"}, {"type": "Gzip"}], "F103", (1, "type")),
    ("compression", [{"type": "Gzip", "brotli": {}}], "F103", (0, "brotli")),
    ("compression", [{"type": "Gzip", "minContentLength": "4Gi"}], "F120", (0, "minContentLength")),
    ("request_buffer", {"limit": 0}, "F120", ("limit",)),
    ("request_buffer", {"limit": "4Gi"}, "F120", ("limit",)),
    ("bandwidth", {}, "F103", ()),
    ("bandwidth", {"request": {"limit": {"value": 1023, "unit": "Second"}}}, "F120", ("request", "limit", "value")),
    ("bandwidth", {"response": {"limit": {"value": "60Ki", "unit": "Hour"}}}, "F120", ("response", "limit", "value")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "written", "code", "path"), CASES, ids=range(len(CASES)))
def test_refusals_name_their_place(name: str, written: Any, code: str, path: tuple[str | int, ...]) -> None:
    reporter = Reporter(secrets=SECRETS)
    assert feature(name).resolve(SPECS[name].model_validate(written), reporter) is None
    assert [(one[0], one[1]) for one in reporter.found] == [(code, path)]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("admission_control", {"minSuccessRate": 0}),
        ("admission_control", {"maxRejectionPercent": 101}),
        ("admission_control", {"successCriteria": {"http": {"statusCodes": [600]}}}),
        ("fault", {"abort": {"httpStatus": 600}}),
        ("fault", {"abort": {"grpcStatus": 17}}),
        ("fault", {"abort": {"httpStatus": 500, "percentage": 100.1}}),
        ("request_buffer", {"limit": "1.5"}),
        (
            "response_override",
            [{"match": BROKEN, "redirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "//x"}}}],
        ),
        ("response_override", [{"match": BROKEN, "redirect": {"hostname": "a.example", "statusCode": 307}}]),
        ("request_buffer", {"limit": "10Kb"}),
        ("request_buffer", {"limit": -1}),
    ],
)
def test_specs_refuse_what_no_one_can_mean(name: str, written: Any) -> None:
    with pytest.raises(ValidationError):
        SPECS[name].model_validate(written)


def test_compression_has_one_name() -> None:
    target = {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "shop"}]}
    both = {**target, "compressor": [{"type": "Gzip"}], "compression": [{"type": "Zstd"}]}
    assert [place for place, _ in BackendTrafficPolicySpec.model_validate(both).conflicts()] == [("compression",)]
    del both["compressor"]
    assert BackendTrafficPolicySpec.model_validate(both).conflicts() == ()
