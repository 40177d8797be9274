"""What features accept and refuse, and where they point when they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import ValidationError

from tests.translate.graphs import Listed, Plain, Reporter, feature
from xds_server.features import FEATURES
from xds_server.features.adaptive_concurrency import AdaptiveConcurrencySpec
from xds_server.features.admission_control import AdmissionControlSpec
from xds_server.features.api_keys import ApiKeyAuthSpec
from xds_server.features.backend_proxy_protocol import BackendProxyProtocolSpec
from xds_server.features.bandwidth import BandwidthSpec
from xds_server.features.bandwidth_share import BandwidthShareSpec
from xds_server.features.basic_auth import BasicAuthSpec
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.compression import CompressionSpec
from xds_server.features.connection import ConnectionSpec
from xds_server.features.cors import CorsFilterSpec
from xds_server.features.credential_injection import CredentialInjectionSpec
from xds_server.features.csrf import CsrfSpec
from xds_server.features.decompression import DecompressionSpec
from xds_server.features.direct_response import DirectResponseSpec
from xds_server.features.dns import DnsSpec
from xds_server.features.dynamic_resolver import DynamicResolverSpec
from xds_server.features.early_headers import ClientHeadersSpec
from xds_server.features.ext_auth import ExtAuthSpec
from xds_server.features.fault import FaultSpec
from xds_server.features.filter_rewrite import FilterRewriteSpec
from xds_server.features.grpc_web import GrpcWebSpec
from xds_server.features.header_modifier import HeaderModifierSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.http3 import Http3Spec
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.jwt import Jwt, JwtSpec, RemoteKeys
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.features.oidc import OidcSpec
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.features.parts.keepalive import TcpKeepaliveSpec
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.features.parts.route_telemetry import TelemetrySpec
from xds_server.features.peers import PeersSpec
from xds_server.features.request_buffer import RequestBufferSpec
from xds_server.features.response_override import ResponseOverrideSpec
from xds_server.features.retry import Retry, RetrySpec
from xds_server.features.route_retry import RouteRetrySpec
from xds_server.features.route_timeout import RouteTimeout, RouteTimeoutSpec
from xds_server.features.session_persistence import SessionPersistenceSpec
from xds_server.features.timeout import TimeoutSpec
from xds_server.features.tunnel import TunnelSpec
from xds_server.features.url_rewrite import UrlRewriteSpec
from xds_server.graph import Backend, Endpoint
from xds_server.spec import Spec

KEY = RSAKey.generate_key(2048)
PUBLIC = json.dumps({"keys": [KEY.as_dict(private=False)]})
PRIVATE = json.dumps({"keys": [KEY.as_dict(private=True)]})
BACKENDS = {
    "auth": Backend("shop/auth", (Endpoint("127.0.0.1", 9000),)),
    "named": Backend("shop/named", (Endpoint("auth.example", 9000),), dns=True),
}
AUTH = {"backendRefs": [{"name": "auth", "port": 80}]}
PROVIDER = {
    "issuer": "https://idp.example",
    "authorizationEndpoint": "https://idp.example/authorize",
    "tokenEndpoint": "https://idp.example/token",
}
SECRETS = {
    "client": {"client-secret": "s", "client-id": "shop"},
    "bad": {"client-secret": "s\n"},
    "keys": {"ann": "k-1"},
    "backend": {"credential": "Bearer t"},
    "users": {".htpasswd": "ann:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs="},
}
SPECS: dict[str, type[Spec] | Listed | Plain] = {
    "early_headers": ClientHeadersSpec,
    "http3": Http3Spec,
    "jwt": JwtSpec,
    "cors": CorsFilterSpec,
    "authorization": AuthorizationSpec,
    "api_keys": ApiKeyAuthSpec,
    "basic_auth": BasicAuthSpec,
    "csrf": CsrfSpec,
    "oidc": OidcSpec,
    "ext_auth": ExtAuthSpec,
    "local_rate_limit": RateLimitSpec,
    "global_rate_limit": RateLimitSpec,
    "adaptive_concurrency": AdaptiveConcurrencySpec,
    "bandwidth_share": BandwidthShareSpec,
    "decompression": Listed(DecompressionSpec),
    "priority_class": Plain(),
    "telemetry": TelemetrySpec,
    "tracing": ProxyTelemetrySpec,
    "grpc_web": GrpcWebSpec,
    "dynamic_resolver": DynamicResolverSpec,
    "credential_injection": CredentialInjectionSpec,
    "peers": PeersSpec,
    "locations": AuthorizationSpec,
    "http_upgrade": Listed(UpgradeSpec),
    "response_override": Listed(ResponseOverrideSpec),
    "admission_control": AdmissionControlSpec,
    "fault": FaultSpec,
    "request_buffer": RequestBufferSpec,
    "bandwidth": BandwidthSpec,
    "compression": Listed(CompressionSpec),
    "timeout": TimeoutSpec,
    "tcp_keepalive": TcpKeepaliveSpec,
    "connection": ConnectionSpec,
    "dns": DnsSpec,
    "client_protocol": Plain(),
    "private_addresses": Plain(),
    "routing_type": Plain(),
    "tunnel": TunnelSpec,
    "backend_http2": Http2SettingsSpec,
    "backend_proxy_protocol": BackendProxyProtocolSpec,
    "retry": RetrySpec,
    "route_retry": RouteRetrySpec,
    "route_timeout": RouteTimeoutSpec,
    "session_persistence": SessionPersistenceSpec,
    "circuit_breaker": CircuitBreakerSpec,
    "load_balancer": LoadBalancerSpec,
    "health": HealthCheckSpec,
    "request_header_modifier": HeaderModifierSpec,
    "response_header_modifier": HeaderModifierSpec,
    "url_rewrite": UrlRewriteSpec,
    "filter_rewrite": FilterRewriteSpec,
    "direct_response": DirectResponseSpec,
}


def resolve(name: str, written: Any, **config_maps: dict[str, str]) -> tuple[Any, Reporter]:
    reporter = Reporter(
        {key.replace("_", "-"): data for key, data in config_maps.items()}, secrets=SECRETS, backends=BACKENDS
    )
    return feature(name).resolve(SPECS[name].model_validate(written), reporter), reporter


LIMIT = {"requests": 2, "unit": "Minute"}


def asked(rule: Any = None, service: Any = None) -> dict[str, Any]:
    return {"global": {"service": service or AUTH, "rules": [{"limit": LIMIT, **(rule or {})}]}}


def provider(**changes: Any) -> dict[str, Any]:
    return {"providers": [{"name": "idp", **changes}]}


def local(**written: Any) -> dict[str, Any]:
    return provider(localJWKS=written)


def remote(uri: str) -> dict[str, Any]:
    return provider(remoteJWKS={"uri": uri})


def oidc(provider: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "provider": {**PROVIDER, **(provider or {})},
        "clientID": "shop",
        "clientSecret": {"name": "client"},
        **changes,
    }


def ruled(**written: Any) -> dict[str, Any]:
    return {"rules": [{"action": "Deny", **written}]}


def rule(**written: Any) -> dict[str, Any]:
    return {"local": {"rules": [{"limit": {"requests": 1, "unit": "Second"}, **written}]}}


def selector(**written: Any) -> dict[str, Any]:
    return rule(clientSelectors=[written])


def regex_path(pattern: str, substitution: str) -> dict[str, Any]:
    change = {"pattern": pattern, "substitution": substitution}
    return {"path": {"type": "ReplaceRegexMatch", "replaceRegexMatch": change}}


REGEX_PATH = ("path", "replaceRegexMatch")
INLINE = ("providers", 0, "localJWKS", "inline")
URI = ("providers", 0, "remoteJWKS", "uri")
AT = ("local", "rules", 0, "clientSelectors", 0)
CASES: list[tuple[str, Any, str, tuple[str | int, ...]]] = [
    ("early_headers", {"earlyRequestHeaders": {"removeOnMatch": [{"type": "RegularExpression", "value": "("}]}},
     "F100", ("earlyRequestHeaders", "removeOnMatch", 0, "value")),
    ("early_headers", {"lateResponseHeaders": {"set": [{"name": "Host", "value": "x"}]}},
     "F101", ("lateResponseHeaders", "set", 0)),
    ("request_header_modifier", {"set": [{"name": "host", "value": "x"}]}, "F101", ("set", 0)),
    ("request_header_modifier", {"remove": ["a", "A"]}, "F101", ("remove", 1)),
    ("jwt", provider(), "F110", ("providers", 0)),
    ("jwt", provider(localJWKS={"inline": PUBLIC}, remoteJWKS={"uri": "https://a.example"}), "F110", ("providers", 0)),
    ("jwt", local(inline="{"), "F111", INLINE),
    ("jwt", local(inline="{}"), "F111", INLINE),
    ("jwt", local(inline='{"keys": []}'), "F111", INLINE),
    ("jwt", local(inline='{"keys": [1]}'), "F111", INLINE),
    ("jwt", local(inline='{"keys": [{"kty": "new"}]}'), "F111", INLINE),
    ("jwt", local(inline='{"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}'), "F111", INLINE),
    ("jwt", local(inline='{"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "BBBB"}]}'), "F111", INLINE),
    ("jwt", local(inline=PRIVATE), "F111", INLINE),
    ("jwt", local(type="ValueRef"), "F103", ("providers", 0, "localJWKS")),
    ("jwt", local(type="ValueRef", valueRef={"name": "gone"}), "A105", ("providers", 0, "localJWKS", "valueRef")),
    ("jwt", remote("ftp://idp.example/keys"), "F111", URI),
    ("jwt", remote("https://"), "F111", URI),
    ("jwt", remote("https://idp.example:99999/keys"), "F111", URI),
    ("jwt", remote("https://[idp/keys"), "F111", URI),
    ("jwt", remote("https://user@idp.example/keys"), "F111", URI),
    ("jwt", remote("http://169.254.169.254/latest"), "F111", URI),
    ("jwt", remote("http://[fd00:ec2::254]/latest"), "F111", URI),
    ("jwt", remote("https://192.0.2.1/keys"), "F111", URI),
    ("jwt", {"providers": [{"name": "a", "localJWKS": {"inline": PUBLIC}}] * 2}, "F113", ("providers", 1, "name")),
    ("jwt", provider(localJWKS={"inline": PUBLIC}, claimToHeaders=[{"claim": "c", "header": "Host"}]),
     "F101", ("providers", 0, "claimToHeaders", 0, "header")),
    ("authorization", ruled(), "F130", ("rules", 0)),
    ("authorization", ruled(operation={}, principal={}), "F130", ("rules", 0)),
    ("authorization", ruled(cel="1 +"), "F130", ("rules", 0, "cel")),
    ("authorization", ruled(principal={"clientIPGeoLocations": [{"country": "DE"}]}), "F130",
     ("rules", 0, "principal", "clientIPGeoLocations", 0, "country")),
    ("authorization", ruled(principal={"clientIPGeoLocations": [{"anonymous": {"isVPN": False}}]}), "F130",
     ("rules", 0, "principal", "clientIPGeoLocations", 0, "anonymous", "isVPN")),
    ("authorization", ruled(principal={"clientIPGeoLocations": [{"anonymous": {}}]}), "F130",
     ("rules", 0, "principal", "clientIPGeoLocations", 0)),
    ("authorization", ruled(principal={"jwt": {"provider": "idp"}}), "F130", ("rules", 0, "principal", "jwt")),
    ("authorization", ruled(principal={"clientCIDRs": ["10.0.0.0/8", "10.0.0.1/8"]}), "F130",
     ("rules", 0, "principal", "clientCIDRs", 1)),
    ("authorization", ruled(principal={"clientCIDRs": ["everywhere"]}), "F130", ("rules", 0, "principal", "clientCIDRs", 0)),
    ("authorization", ruled(operation={"path": {"value": "admin"}}), "F130", ("rules", 0, "operation", "path", "value")),
    ("authorization", ruled(operation={"path": {"value": "/a;b"}}), "F130", ("rules", 0, "operation", "path", "value")),
    ("authorization", ruled(operation={"path": {"type": "RegularExpression", "value": "(?=a)"}}),
     "F100", ("rules", 0, "operation", "path", "value")),
    ("authorization", {"rules": [{"name": "a", "action": "Deny", "operation": {"methods": ["GET"]}}] * 2},
     "F130", ("rules", 1, "name")),
    ("csrf", {"additionalOrigins": ["a.example", "*"]}, "F103", ("additionalOrigins", 1)),
    ("csrf", {"additionalOrigins": ["*example.com"]}, "F103", ("additionalOrigins", 0)),
    ("csrf", {"additionalOrigins": ["https://a.example/x"]}, "F103", ("additionalOrigins", 0)),
    ("csrf", {"shadowFraction": {"numerator": 101}}, "F103", ("shadowFraction",)),
    ("oidc", oidc(clientID=None), "F103", ("clientID",)),
    ("oidc", oidc(clientIDRef={"name": "client"}), "F103", ("clientID",)),
    ("oidc", oidc(clientSecret={"name": "gone"}), "A105", ("clientSecret",)),
    ("oidc", oidc(clientSecret={"name": "keys"}), "F140", ("clientSecret",)),
    ("oidc", oidc(clientSecret={"name": "bad"}), "F140", ("clientSecret",)),
    ("oidc", oidc({"tokenEndpoint": None}), "F144", ("provider", "issuer")),
    ("oidc", oidc({"authorizationEndpoint": None}), "F144", ("provider", "issuer")),
    ("oidc", oidc({"issuer": "http://169.254.169.254", "tokenEndpoint": None}), "F141", ("provider", "issuer")),
    ("oidc", oidc({"issuer": "http://2852039166", "tokenEndpoint": None}), "F141", ("provider", "issuer")),
    ("oidc", oidc({"issuer": "idp"}), "F141", ("provider", "issuer")),
    ("oidc", oidc({"endSessionEndpoint": "javascript:x"}), "F141", ("provider", "endSessionEndpoint")),
    ("oidc", oidc({"tokenEndpoint": "http://169.254.169.254/token"}), "F141", ("provider", "tokenEndpoint")),
    ("oidc", oidc({"tokenEndpoint": "http://[::ffff:169.254.169.254]/"}), "F141", ("provider", "tokenEndpoint")),
    ("oidc", oidc({"backendRefs": [{"name": "gone", "port": 80}]}), "A105", ("provider", "backendRefs", 0)),
    ("oidc", oidc(redirectURL="https://%ENVIRONMENT(HOME)%/x"), "F141", ("redirectURL",)),
    ("oidc", oidc(redirectURL="https://shop.example"), "F141", ("redirectURL",)),
    ("oidc", oidc(redirectURL="/callback"), "F141", ("redirectURL",)),
    ("oidc", oidc(redirectURL="https://shop.example/cb?x=1"), "F141", ("redirectURL",)),
    ("oidc", oidc(logoutPath="logout"), "F103", ("logoutPath",)),
    ("oidc", oidc(logoutPath="/oauth2/callback"), "F103", ("logoutPath",)),
    ("oidc", oidc(forwardIDToken={"header": "host"}), "F101", ("forwardIDToken", "header")),
    ("oidc", oidc(forwardIDToken={"header": "authorization"}, forwardAccessToken=True), "F101", ("forwardIDToken", "header")),
    ("oidc", oidc(denyRedirect={"headers": [{"name": "a", "type": "RegularExpression", "value": "("}]}),
     "F100", ("denyRedirect", "headers", 0, "value")),
    ("oidc", oidc(csrfTokenTTL="0s"), "F103", ("csrfTokenTTL",)),
    ("ext_auth", {}, "F103", ()),
    ("ext_auth", {"http": AUTH, "grpc": AUTH}, "F103", ()),
    ("ext_auth", {"http": {}}, "F103", ("http",)),
    ("ext_auth", {"http": {"backendRefs": [{"name": "gone", "port": 80}]}}, "A105", ("http", "backendRefs", 0)),
    ("ext_auth", {"http": {**AUTH, "backendRef": {"name": "auth"}}}, "F103", ("http", "backendRef")),
    ("ext_auth", {"http": {"backendRefs": [{"name": "auth"}, {"name": "named"}]}}, "F103", ("http", "backendRefs", 1)),
    ("ext_auth", {"http": {**AUTH, "path": "/a", "pathOverride": "/b"}}, "F103", ("http", "pathOverride")),
    ("ext_auth", {"http": {**AUTH, "path": "a"}}, "F103", ("http", "path")),
    ("ext_auth", {"http": {**AUTH, "headersToBackend": ["Host"]}}, "F101", ("http", "headersToBackend", 0)),
    ("ext_auth", {"http": AUTH, "includeRouteMetadata": True}, "F103", ("includeRouteMetadata",)),
    ("ext_auth", {"http": AUTH, "timeout": "0s"}, "F103", ("timeout",)),
    ("ext_auth", {"http": AUTH, "statusOnError": 418}, "F103", ("statusOnError",)),
    ("ext_auth", {"http": AUTH, "contextExtensions": [{"name": "a", "value": "b"}]}, "F103", ("contextExtensions",)),
    ("ext_auth", {"grpc": AUTH, "contextExtensions": [{"name": "a"}]}, "F103", ("contextExtensions", 0)),
    ("ext_auth", {"grpc": AUTH, "contextExtensions": [{"name": "a", "value": "b"}] * 2},
     "F103", ("contextExtensions", 1, "name")),
    ("ext_auth", {"grpc": AUTH, "contextExtensions": [
        {"name": "a", "type": "ValueRef", "valueRef": {"kind": "Secret", "name": "keys", "key": "gone"}}]},
     "F140", ("contextExtensions", 0, "valueRef")),
    ("global_rate_limit", {"type": "Global"}, "F103", ()),
    ("local_rate_limit", {"type": "Local", **asked()}, "F103", ()),
    ("global_rate_limit", {"global": {"rules": [{"limit": LIMIT}]}}, "F103", ("global",)),
    ("global_rate_limit", asked(service={"backendRefs": [{"name": "gone"}]}),
     "A105", ("global", "service", "backendRefs", 0)),
    ("global_rate_limit", asked(service={**AUTH, "timeout": "0s"}), "F103", ("global", "service", "timeout")),
    ("global_rate_limit", asked({"burst": 3}), "F103", ("global", "rules", 0, "burst")),
    ("global_rate_limit", asked({"limit": {"requests": 1, "unit": "Week"}}),
     "F120", ("global", "rules", 0, "limit", "unit")),
    ("global_rate_limit", asked({"cost": {"request": {"from": "Metadata", "number": 1}}}),
     "F103", ("global", "rules", 0, "cost", "request")),
    ("global_rate_limit", asked({"clientSelectors": [{}]}), "F120", ("global", "rules", 0, "clientSelectors", 0)),
    ("local_rate_limit", {}, "F103", ()),
    ("local_rate_limit", rule(limit={"requests": 0, "unit": "Second"}), "F120", ("local", "rules", 0, "limit", "requests")),
    ("local_rate_limit", rule(shared=True), "F103", ("local", "rules", 0, "shared")),
    ("local_rate_limit", rule(cost={"request": {"from": "Number", "number": 2}}), "F103", ("local", "rules", 0, "cost")),
    ("local_rate_limit", rule(burst=0), "F120", ("local", "rules", 0, "burst")),
    ("local_rate_limit", selector(), "F120", AT),
    ("local_rate_limit", selector(headers=[{"name": "a"}]), "F103", (*AT, "headers", 0)),
    ("local_rate_limit", selector(headers=[{"type": "Distinct", "name": "a", "invert": True}]), "F103", (*AT, "headers", 0)),
    ("local_rate_limit", selector(queryParams=[{"type": "RegularExpression", "name": "a", "value": "(?=a)"}]),
     "F100", (*AT, "queryParams", 0, "value")),
    ("local_rate_limit", selector(sourceCIDR={"value": "somewhere"}), "F103", (*AT, "sourceCIDR", "value")),
    ("local_rate_limit", selector(path={"type": "RegularExpression", "value": "a{100}"}), "F100", (*AT, "path", "value")),
    ("timeout", {"tcp": {"connectTimeout": "0s"}}, "F103", ("tcp", "connectTimeout")),
    ("tcp_keepalive", {"idleTime": "1500ms"}, "F103", ("idleTime",)),
    ("tcp_keepalive", {"interval": "0s"}, "F103", ("interval",)),
    ("tcp_keepalive", {"interval": "10h"}, "F103", ("interval",)),
    ("cors", {"exposeHeaders": ["*"], "allowCredentials": True}, "F103", ("exposeHeaders",)),
    ("filter_rewrite", {"hostname": {"type": "Header"}}, "F103", ("hostname",)),
    ("filter_rewrite", {"hostname": {"type": "Backend", "header": "x"}}, "F103", ("hostname",)),
    ("filter_rewrite", {"path": {"type": "ReplaceRegexMatch"}}, "F103", ("path",)),
    ("filter_rewrite", regex_path("(", ""), "F100", (*REGEX_PATH, "pattern")),
    ("filter_rewrite", regex_path("(a)", "\\2"), "F103", (*REGEX_PATH, "substitution")),
    ("filter_rewrite", regex_path("a", "\\x"), "F103", (*REGEX_PATH, "substitution")),
    ("filter_rewrite", regex_path("a", "\\"), "F103", (*REGEX_PATH, "substitution")),
    ("route_retry", {"backoff": "0s"}, "F103", ("backoff",)),
    ("session_persistence", {"idleTimeout": "1h"}, "F102", ("idleTimeout",)),
    ("session_persistence", {"absoluteTimeout": "1h"}, "F103", ("absoluteTimeout",)),
    ("session_persistence", {"cookieConfig": {"lifetimeType": "Permanent"}}, "F103", ("cookieConfig",)),
    ("session_persistence", {"type": "Header", "cookieConfig": {}}, "F103", ("cookieConfig",)),
    ("route_timeout", {"request": "1s", "backendRequest": "2s"}, "F103", ("backendRequest",)),
    ("retry", {"retryOn": {"triggers": ["5xx"], "httpStatusCodes": [503]}}, "F103", ("retryOn",)),
    ("retry", {"retryOn": {"triggers": ["retriable-status-codes"]}}, "F103", ("retryOn",)),
    ("retry", {"perRetry": {"backOff": {"maxInterval": "1s"}}}, "F103", ("perRetry", "backOff")),
    ("circuit_breaker", {"retryBudget": {"percent": {"numerator": 101}}}, "F103", ("retryBudget", "percent")),
    ("load_balancer", {"type": "ConsistentHash"}, "F103", ()),
    ("load_balancer", {"type": "Random", "slowStart": {"window": "1s"}}, "F103", ()),
    ("load_balancer", {"type": "Random", "backendUtilization": {}}, "F103", ()),
    ("load_balancer", {"type": "ConsistentHash", "consistentHash": {"type": "Header"}}, "F103", ()),
    ("load_balancer", {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP", "tableSize": 10}}, "F103", ()),
    ("health", {"passive": {"interval": "0s"}}, "F103", ("passive",)),
    ("url_rewrite", {"path": {"type": "ReplaceFullPath"}}, "F103", ("path",)),
    ("url_rewrite", {"path": {"type": "ReplaceFullPath", "replaceFullPath": "a"}}, "F103", ("path",)),
    ("url_rewrite", {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/a?b"}}, "F103", ("path",)),
    ("direct_response", {"body": {"inline": "x" * 4097}}, "F103", ("body",)),
    ("direct_response", {"body": {"type": "ValueRef", "inline": "x"}}, "F103", ("body",)),
    ("direct_response", {"header": {"set": [{"name": "Host", "value": "x"}]}}, "F101", ("header", "set", 0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "written", "code", "path"), CASES, ids=range(len(CASES)))
def test_refusals_name_their_place(name: str, written: Any, code: str, path: tuple[str | int, ...]) -> None:
    value, reporter = resolve(name, written)
    assert value is None
    assert [(one[0], one[1]) for one in reporter.found] == [(code, path)]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("timeout", {"http": {"requestTimeOut": "1s"}}),
        ("tcp_keepalive", {"probes": 0}),
        ("tcp_keepalive", {"probes": 128}),
        ("timeout", {"http": {"requestTimeout": "1.5s"}}),
        ("retry", {"numRetries": -1}),
        ("retry", {"numRetries": "2"}),
        ("retry", {"retryOn": {"triggers": ["sometimes"]}}),
        ("circuit_breaker", {"maxConnections": 2**32}),
        ("load_balancer", {"type": "DynamicModule"}),
        ("local_rate_limit", {"local": {"rules": []}}),
        ("local_rate_limit", {"local": {"rules": [{"limit": {"requests": 1, "unit": "Fortnight"}}]}}),
        ("health", {"panicThreshold": 101}),
        ("request_header_modifier", {"set": [{"name": "x y", "value": "1"}]}),
        ("request_header_modifier", {"set": [{"name": "x", "value": "1\r\nx-evil: 1"}]}),
        ("request_header_modifier", {"remove": [":path"]}),
        ("direct_response", {"contentType": "text/plain\nx: 1"}),
        ("direct_response", {"statusCode": 99}),
        ("url_rewrite", {"hostname": "*.example"}),
        ("url_rewrite", {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a\x00"}}),
        ("jwt", {"providers": []}),
    ],
)
def test_specs_refuse_what_no_one_can_mean(name: str, written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPECS[name].model_validate(written)


def test_key_sets_from_a_config_map() -> None:
    written = local(type="ValueRef", valueRef={"kind": "ConfigMap", "name": "keys"})
    for data in ({"jwks": PUBLIC, "a": "{}"}, {"first": PUBLIC}):
        value, reporter = resolve("jwt", written, keys=data)
        assert isinstance(value, Jwt)
        assert value.providers[0].keys == PUBLIC
        assert not reporter.found
    assert resolve("jwt", written, keys={})[1].found[0][0] == "F103"


def test_other_kinds_of_keys() -> None:
    for key in (ECKey.generate_key("P-256"), OctKey.generate_key(256)):
        text = json.dumps({"keys": [key.as_dict(private=key.key_type == "oct")]})
        assert resolve("jwt", local(inline=text))[0] is not None


def test_keys_without_tls_are_taken_with_a_warning() -> None:
    value, reporter = resolve("jwt", remote("http://127.0.0.1:8000/keys"))
    assert [one[0] for one in reporter.found] == ["F112"]
    assert isinstance(value, Jwt)
    assert isinstance(value.providers[0].keys, RemoteKeys)
    assert not feature("jwt").backends(value)[0].dns


def test_a_key_server_is_a_backend_whose_certificate_is_checked() -> None:
    value, _ = resolve("jwt", remote("https://idp.example/keys"))
    (server,) = feature("jwt").backends(value)
    assert (server.name, server.dns) == ("jwks/https/idp.example/443", True)
    assert server.tls is not None
    assert (server.tls.sni, server.tls.san, server.tls.ca) == ("idp.example", "idp.example", "")


def test_defaults_of_retries() -> None:
    value, _ = resolve("retry", {})
    assert isinstance(value, Retry)
    assert (value.retries, value.codes) == (2, (503,))
    assert resolve("retry", {"retryOn": {"httpStatusCodes": [502]}})[0].triggers == ("retriable-status-codes",)


def test_no_limit_for_the_whole_and_one_for_each_attempt() -> None:
    assert resolve("route_timeout", {"request": "0s", "backendRequest": "2s"})[0] == RouteTimeout(0, 2)
    assert resolve("route_timeout", {"request": "2s", "backendRequest": "0s"})[0] == RouteTimeout(2, 0)


def test_nothing_to_do_is_no_setting() -> None:
    value, reporter = resolve("request_header_modifier", {})
    assert (value, reporter.found) == (None, [])


def test_bodies_from_a_config_map() -> None:
    value, _ = resolve(
        "direct_response", {"body": {"type": "ValueRef", "valueRef": {"name": "b"}}}, b={"response.body": "hi"}
    )
    answer = feature("direct_response").action(value)
    assert (getattr(answer, "status", 0), getattr(answer, "body", "")) == (200, "hi")


def test_values_are_frozen_and_hashable() -> None:
    samples: dict[str, Any] = {
        "jwt": local(inline=PUBLIC),
        "api_keys": {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-key"]}]},
        "ext_auth": {"http": {"backendRefs": [{"name": "auth", "port": 80}]}},
        "oidc": oidc(),
        "basic_auth": {"users": {"name": "users"}},
        "peers": {"allow": [{"uris": ["spiffe://a/b"]}]},
        "tunnel": {"host": "db.example", "port": 5432},
        "local_rate_limit": selector(
            path={"value": "/a"}, sourceCIDR={"value": "10.0.0.0/8"}, methods=[{"value": "GET"}]
        ),
        "credential_injection": {"credential": {"valueRef": {"name": "backend"}}},
        "http_upgrade": [{"type": "websocket"}],
        "response_override": [{"match": {"statusCodes": [{"value": 500}]}, "response": {}}],
        "fault": {"abort": {"httpStatus": 503}},
        "request_buffer": {"limit": "1Mi"},
        "bandwidth": {"request": {"limit": {"value": "1Mi", "unit": "Second"}}},
        "compression": [{"type": "Gzip"}],
        "decompression": [{"type": "Gzip"}],
        "bandwidth_share": {"request": {"limit": {"value": "1Mi", "unit": "Second"}}},
        "priority_class": "Critical",
        "tracing": {"tracing": {"provider": AUTH, "tags": {"a": "%PROTOCOL%"}}},
        "telemetry": {"metrics": {"routeStatName": "a"}},
        "load_balancer": {"type": "Random"},
        "backend_proxy_protocol": {"version": "V1"},
        "client_protocol": True,
        "routing_type": "Endpoint",
        "url_rewrite": {"hostname": "a.example"},
        "request_header_modifier": {"set": [{"name": "a", "value": "b"}]},
        "response_header_modifier": {"add": [{"name": "a", "value": "b"}]},
    }
    for one in (known for known in FEATURES if known.carriers):
        elsewhere = {"ClientTrafficPolicy", "EnvoyProxy", "EnvoyExtensionPolicy"}
        if one.name not in SPECS and {kind for kind, _ in one.carriers} <= elsewhere:
            continue  # these have a file of their own
        first, second = (resolve(one.name, samples.get(one.name, {}))[0] for _ in range(2))
        assert (first, hash(first)) == (second, hash(second))


def test_strangers_are_refused_before_anyone_is_asked_or_anything_is_counted() -> None:
    order = ["cors", "csrf", "api_keys", "basic_auth", "oidc", "jwt", "ext_auth", "authorization", "local_rate_limit"]
    assert [one.name for one in FEATURES if one.name in order] == order


def test_names_and_carriers_are_unique() -> None:
    names = [one.name for one in FEATURES]
    carriers = [carrier for one in FEATURES for carrier in one.carriers]
    filters = [one.filter_name for one in FEATURES if one.filter_name]
    for each in (names, carriers, filters):
        twice = {one for one in each if list(each).count(one) > 1}
        halves = {("BackendTrafficPolicy", "rateLimit"), ("SecurityPolicy", "authorization")}
        halves |= {("BackendTrafficPolicy", "telemetry"), ("EnvoyProxy", "telemetry")}
        assert twice <= halves, "one field for two features, each with a half of it"
