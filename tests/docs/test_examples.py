"""What the pages under docs/ say is true of the code: examples compile, links lead somewhere, tables name every field.

In: README.md and docs/. Out: failures that name the page and the block, the link or the field.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.docs.pages import PAGES, ROOT, Field, blocks, fields_of, links, rows
from tests.documents import compiled, parse
from tests.gateways.stamps import MODULE
from xds_server.attach.reach import Reach
from xds_server.compile import Options
from xds_server.diagnostics import Severity
from xds_server.features import FEATURES
from xds_server.load.suppress import suppressed
from xds_server.load.yaml import parse_documents
from xds_server.model.core import BackendSpec
from xds_server.model.gateway_api import HttpRouteRule, HttpRouteSpec
from xds_server.model.gateways import GatewaySpec, ListenerSetSpec
from xds_server.model.grpc_route import GrpcRouteSpec
from xds_server.model.kinds import KINDS
from xds_server.model.namespaces import ReferenceGrantSpec
from xds_server.model.policies import MergingTargets
from xds_server.model.proxies import EnvoyProxySpec
from xds_server.model.route_filters import HttpRouteFilter
from xds_server.model.stream_routes import TlsRouteSpec
from xds_server.types import CodeFile

POLICIES = ROOT / "docs" / "policies"
SPECS: dict[str, type[BaseModel]] = {
    **{kind.name: kind.spec for kind in KINDS.values()},
    "HTTPRoute.filter": HttpRouteFilter,
    "HTTPRoute.rule": HttpRouteRule,
}
CARRIERS = {
    "peers.md": [("HTTPRouteFilter", "peers"), ("ClientTrafficPolicy", "peerHeader")],
    "http3.md": [("ClientTrafficPolicy", "http3")],
    "access-logs.md": [("EnvoyProxy", "telemetry")],
    "metrics.md": [("EnvoyProxy", "telemetry")],
    "tracing.md": [("EnvoyProxy", "telemetry"), ("BackendTrafficPolicy", "telemetry")],
    "filter-order.md": [("EnvoyProxy", "filterOrder")],
    "proxy-defaults.md": [
        *(("EnvoyProxy", name) for name in ("ipFamily", "backendTLS", "routingType")),
        ("BackendTrafficPolicy", "routingType"),
    ],
    "client-tls.md": [("ClientTrafficPolicy", "tls")],
    "client-addresses.md": [
        ("ClientTrafficPolicy", "clientIPDetection"),
        ("ClientTrafficPolicy", "proxyProtocol"),
        ("ClientTrafficPolicy", "enableProxyProtocol"),
        ("ClientTrafficPolicy", "healthCheck"),
    ],
    "client-connections.md": [
        ("ClientTrafficPolicy", "timeout"),
        ("ClientTrafficPolicy", "connection"),
        ("ClientTrafficPolicy", "tcpKeepalive"),
        ("ClientTrafficPolicy", "http1"),
        ("ClientTrafficPolicy", "http2"),
        ("ClientTrafficPolicy", "grpc"),
        ("ClientTrafficPolicy", "path"),
        ("ClientTrafficPolicy", "scheme"),
        ("ClientTrafficPolicy", "onInvalidMessage"),
    ],
    "backend-tls.md": [("BackendTLSPolicy", "validation")],
    "api-keys.md": [("SecurityPolicy", "apiKeyAuth")],
    "basic-auth.md": [("SecurityPolicy", "basicAuth")],
    "ext-auth.md": [("SecurityPolicy", "extAuth")],
    "faults.md": [("BackendTrafficPolicy", "faultInjection")],
    "request-buffer.md": [("BackendTrafficPolicy", "requestBuffer")],
    "bandwidth.md": [("BackendTrafficPolicy", "bandwidthLimit")],
    "compression.md": [
        ("BackendTrafficPolicy", "compressor"),
        ("BackendTrafficPolicy", "compression"),
        ("BackendTrafficPolicy", "decompressor"),
    ],
    "response-override.md": [("BackendTrafficPolicy", "responseOverride")],
    "adaptive-concurrency.md": [("BackendTrafficPolicy", "adaptiveConcurrency")],
    "fair-shares.md": [("BackendTrafficPolicy", "bandwidthShare")],
    "priority-classes.md": [("HTTPRouteFilter", "priorityClass")],
    "cookies.md": [("HTTPRouteFilter", "matches")],
    "telemetry.md": [("BackendTrafficPolicy", "telemetry")],
    "upgrades.md": [("BackendTrafficPolicy", "httpUpgrade")],
    "credential-injection.md": [("HTTPRouteFilter", "credentialInjection")],
    "admission-control.md": [("BackendTrafficPolicy", "admissionControl")],
    "csrf.md": [("SecurityPolicy", "csrf")],
    "oidc.md": [("SecurityPolicy", "oidc")],
    "authorization.md": [("SecurityPolicy", "authorization")],
    "jwt.md": [("SecurityPolicy", "jwt")],
    "local-rate-limit.md": [("BackendTrafficPolicy", "rateLimit")],
    "global-rate-limit.md": [("BackendTrafficPolicy", "rateLimit")],
    "timeouts.md": [("BackendTrafficPolicy", "timeout"), ("HTTPRoute.rule", "timeouts")],
    "retries.md": [("BackendTrafficPolicy", "retry"), ("HTTPRoute.rule", "retry")],
    "cors.md": [("SecurityPolicy", "cors"), ("HTTPRoute.filter", "cors")],
    "mirrors.md": [("HTTPRoute.filter", "requestMirror")],
    "session-persistence.md": [("HTTPRoute.rule", "sessionPersistence")],
    "tcp-keepalive.md": [("BackendTrafficPolicy", "tcpKeepalive")],
    "connections.md": [
        ("BackendTrafficPolicy", "connection"),
        ("BackendTrafficPolicy", "http2"),
        ("BackendTrafficPolicy", "proxyProtocol"),
        ("BackendTrafficPolicy", "useClientProtocol"),
    ],
    "dns.md": [("BackendTrafficPolicy", "dns")],
    "private-addresses.md": [("BackendTrafficPolicy", "denyPrivateAddresses")],
    "tunnels.md": [("BackendTrafficPolicy", "tunnel")],
    "circuit-breakers.md": [("BackendTrafficPolicy", "circuitBreaker")],
    "load-balancing.md": [("BackendTrafficPolicy", "loadBalancer")],
    "health-checks.md": [("BackendTrafficPolicy", "healthCheck")],
    "headers.md": [
        ("HTTPRoute.filter", "requestHeaderModifier"),
        ("HTTPRoute.filter", "responseHeaderModifier"),
        ("ClientTrafficPolicy", "headers"),
    ],
    "redirects-and-rewrites.md": [
        ("HTTPRoute.filter", "requestRedirect"),
        ("HTTPRoute.filter", "urlRewrite"),
        ("HTTPRouteFilter", "urlRewrite"),
    ],
    "extensions.md": [
        *(("EnvoyExtensionPolicy", name) for name in ("lua", "extProc", "wasm", "dynamicModule")),
        ("EnvoyProxy", "dynamicModules"),
    ],
    "patches.md": [("EnvoyPatchPolicy", name) for name in ("type", "targetRef", "priority", "jsonPatches")],
    "direct-response.md": [("HTTPRouteFilter", "directResponse")],
}
"""What each page under docs/policies is about: fields of policies, of filters and of rules."""

_ELSEWHERE = frozenset({"rules[].filters", "rules[].backendRefs[].filters", "rules[].sessionPersistence"})
OPERATOR = Options(
    extenders=("default",),
    module_folders=("/usr/lib/envoy",),
    reach=Reach(socket_folders=("/run/shop",)),
    code_files={"modules/stamp.wasm": CodeFile(MODULE, "0" * 64)},
)
_ON_OTHER_PAGES = {"telemetry", "filterOrder", "dynamicModules", "ipFamily", "backendTLS", "routingType"}
_HALVES = {
    "local-rate-limit.md": {"rateLimit.global"},
    "global-rate-limit.md": {"rateLimit.local"},
    "access-logs.md": {"telemetry.tracing", "telemetry.requestID", "telemetry.metrics", "telemetry.healthCheckLog"},
    "tracing.md": {"telemetry.accessLog", "telemetry.metrics", "telemetry.healthCheckLog"},
    "metrics.md": {"telemetry.accessLog", "telemetry.tracing", "telemetry.requestID"},
    "telemetry.md": {"telemetry.tracing"},
}
"""A field with several pages: what the others are about."""
_ROUTES = ("routes.md", "grpc.md")


def title(page: Path) -> str:
    """The name of a page among all of them."""
    return str(page.relative_to(ROOT)).removeprefix("docs/")


YAML = [
    pytest.param(page, text, id=f"{title(page)}-{n}") for page in PAGES for n, text in enumerate(blocks(page, "yaml"))
]


def fields_on(page: Path) -> list[Field]:
    """The fields that a page's tables have to name."""
    if page.name == "attachment.md":
        return list(fields_of(MergingTargets, "", frozenset()))
    if page.name == "routes.md":
        elsewhere = _ELSEWHERE | {"rules[].timeouts", "rules[].retry"}
        return [*fields_of(HttpRouteSpec, "", elsewhere), *fields_of(ReferenceGrantSpec, "", frozenset())]
    if page.name == "backends.md":
        return list(fields_of(BackendSpec, "", frozenset()))
    if page.name == "grpc.md":
        return list(fields_of(GrpcRouteSpec, "", _ELSEWHERE))
    if page.name == "envoy-process.md":
        return list(fields_of(EnvoyProxySpec, "", frozenset(_ON_OTHER_PAGES)))
    if page.name == "l4-routes.md":
        return list(fields_of(TlsRouteSpec, "", frozenset()))
    if page.name == "gateways.md":
        above = fields_of(ListenerSetSpec, "", frozenset({"listeners"}))
        return [*fields_of(GatewaySpec, "", frozenset()), *above]
    found = []
    for kind, field in CARRIERS[page.name]:
        others = frozenset(info.alias or name for name, info in SPECS[kind].model_fields.items()) - {field}
        others |= _HALVES.get(page.name, set())
        found += list(fields_of(SPECS[kind], "", others))
    return [one for one in found if one.leaf or one.path not in {field for _, field in CARRIERS[page.name]}]


TABLES = [
    pytest.param(page, id=page.name)
    for page in (
        *sorted(POLICIES.glob("*.md")),
        *(
            ROOT / "docs" / name
            for name in (*_ROUTES, "backends.md", "gateways.md", "l4-routes.md", "envoy-process.md")
        ),
    )
]


@pytest.mark.parametrize(("page", "text"), YAML)
def test_an_example_compiles_without_a_diagnostic(page: Path, text: str) -> None:
    _, problems = parse(text, page.name)
    assert [str(problem) for problem in problems] == []
    found = suppressed(compiled(text, OPERATOR).diagnostics, parse_documents("test.yaml", text.encode())[0])
    assert [str(one) for one in found if one.severity != Severity.INFO] == []


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_a_link_leads_to_a_file(page: Path) -> None:
    inside = [link.partition("#")[0] for link in links(page) if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", TABLES)
def test_a_table_names_every_field_and_no_other(page: Path) -> None:
    fields = fields_on(page)
    named = [field for row in rows(page) for field in row.fields]
    assert sorted(named) == sorted(set(named)), "a field is there twice"
    assert sorted(set(named) - {field.path for field in fields}) == [], "fields that cannot be written"
    assert sorted({field.path for field in fields if field.leaf} - set(named)) == [], "fields that are not named"


@pytest.mark.parametrize("page", TABLES)
def test_a_table_says_the_defaults(page: Path) -> None:
    defaults = {field.path: field.default for field in fields_on(page)}
    wrong = {
        field: (row.default, defaults[field])
        for row in rows(page)
        for field in row.fields
        if row.default != defaults.get(field)
    }
    assert wrong == {}


@pytest.mark.parametrize("page", TABLES)
def test_a_table_says_bounds_and_choices(page: Path) -> None:
    missing = {}
    for field in fields_on(page):
        about = [row for row in rows(page) if any((one + ".").startswith(field.path + ".") for one in row.fields)]
        text = " ".join(row.meaning for row in about)
        said = [re.search(rf"(?<!\d){number}(?!\d)", text) for number in field.bounds]
        wanted = [str(number) for number, there in zip(field.bounds, said, strict=True) if not there]
        wanted += [choice for choice in field.choices if f"`{choice}`" not in text]
        if wanted:
            missing[field.path] = wanted
    assert missing == {}


def test_every_feature_and_every_page_has_the_other() -> None:
    carried = {carrier for feature in FEATURES for carrier in feature.carriers}
    written = {carrier for carriers in CARRIERS.values() for carrier in carriers}
    assert carried - written == set()
    assert {page.name for page in POLICIES.glob("*.md")} == {*CARRIERS, "attachment.md"}
