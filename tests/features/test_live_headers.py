"""Headers, rewrites and answers of the gateway in a real Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.tokens import jwks
from tests.translate.graphs import backend, feature, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.direct_response import DirectResponseSpec
from xds_server.features.early_headers import ClientHeadersSpec
from xds_server.features.header_modifier import HeaderModifierSpec
from xds_server.features.jwt import JwtSpec
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.features.url_rewrite import UrlRewriteSpec
from xds_server.graph import PathType, Respond, Route, Setting, ValueMatch

HSTS = "strict-transport-security"
LONG = "/" + "/".join(["element"] * 9)


def request_headers(**written: Any) -> Setting:
    return setting("request_header_modifier", HeaderModifierSpec, written)


def response_headers(**written: Any) -> Setting:
    return setting("response_header_modifier", HeaderModifierSpec, written)


def rewrite(**written: Any) -> Setting:
    return setting("url_rewrite", UrlRewriteSpec, written)


def prefix(text: str) -> dict[str, str]:
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": text}


def answer() -> Route:
    written = {
        "statusCode": 418,
        "contentType": "application/problem+json",
        "body": {"inline": '{"detail": "%ENVIRONMENT(CANARY)% 100%"}'},
        "header": {
            "set": [{"name": "x-why", "value": "%ENVIRONMENT(CANARY)%"}],
            "add": [{"name": "x-b", "value": "1"}],
        },
    }
    made = setting("direct_response", DirectResponseSpec, written)
    action = feature("direct_response").action(made.value)
    assert isinstance(action, Respond)
    return route(action, made)


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    action = forward(backend(envoy.server().address))
    chain = {
        "earlyRequestHeaders": {
            "removeOnMatch": [
                {"type": "Prefix", "value": "X-Cell-"},
                {"type": "Suffix", "value": "-secret"},
                {"type": "RegularExpression", "value": "x-no[0-9]+"},
                {"value": "x-exact"},
            ],
            "remove": ["x-beta"],
            "set": [{"name": "x-gateway", "value": "edge"}, {"name": "x-cell-gateway", "value": "north"}],
            "add": [{"name": "x-more", "value": "2"}],
            "addIfAbsent": [{"name": "x-default", "value": "d"}],
        },
        "lateResponseHeaders": {
            "set": [{"name": HSTS, "value": "max-age=31536000"}],
            "add": [{"name": "x-late", "value": "%ENVIRONMENT(CANARY)%"}],
            "remove": ["x-from-backend"],
        },
    }
    provider = {"name": "idp", "localJWKS": {"inline": jwks()}}
    limit = {"local": {"rules": [{"limit": {"requests": 1, "unit": "Hour"}}]}}
    envoy.apply(
        gateway(
            host(
                "plain.example",
                route(Respond(500), headers=(ValueMatch("x-beta", "1"),)),
                route(action),
            ),
            host("token.example", route(action, setting("jwt", JwtSpec, {"providers": [provider]}))),
            host("limit.example", route(action, setting("local_rate_limit", RateLimitSpec, limit))),
            host("answer.example", answer()),
            host(
                "change.example",
                route(
                    action,
                    request_headers(
                        set=[{"name": "X-Set", "value": "100% %ENVIRONMENT(CANARY)%"}],
                        add=[{"name": "x-add", "value": "a"}, {"name": "x-add", "value": "b"}],
                        remove=["X-Gone"],
                    ),
                    response_headers(
                        set=[{"name": "x-set", "value": "%ENVIRONMENT(CANARY)%"}], add=[{"name": "vary", "value": "x"}]
                    ),
                ),
            ),
            host(
                "rewrite.example",
                route(action, rewrite(hostname="inner.example"), path="/host"),
                route(action, rewrite(path={"type": "ReplaceFullPath", "replaceFullPath": r"/one\1%2"}), path="/full"),
                route(action, rewrite(path=prefix("/xyz")), path="/foo"),
                route(action, rewrite(path=prefix("/xyz/")), path="/slash/"),
                route(action, rewrite(path=prefix("/")), path="/strip.me"),
                route(action, rewrite(path=prefix("")), path="/empty"),
                route(action, rewrite(path=prefix("/")), path=LONG),
                route(action, rewrite(path=prefix("/new")), path_type=PathType.EXACT, path="/exact"),
                route(action, rewrite(path=prefix("/new")), path_type=PathType.REGEX, path="/regex[0-9]"),
                route(action, rewrite(path=prefix("/in/")), path="/"),
            ),
            settings=(setting("early_headers", ClientHeadersSpec, chain),),
        ),
        expected=True,  # of the prefix in a regular expression
    )
    return envoy


def asked(edge: Envoy, name: str, path: str = "/", **headers: str) -> dict[str, str]:
    """The headers that the backend saw, by name in lower case."""
    return {key.lower(): text for key, text in edge.get(name, path, **headers).json()["headers"].items()}


@pytest.mark.parametrize("name", ["X-Cell-Caller", "my-secret", "x-no7", "X-Exact", "x-beta"])
def test_headers_are_removed_before_routing(edge: Envoy, name: str) -> None:
    headers = asked(edge, "plain.example", **{name: "1"})
    assert name.lower() not in headers


def test_early_headers_are_set_after_the_removal(edge: Envoy) -> None:
    headers = asked(edge, "plain.example", x_gateway="spoofed", x_cell_gateway="spoofed", x_more="1", x_default="own")
    assert (headers["x-gateway"], headers["x-cell-gateway"]) == ("edge", "north")
    assert headers["x-default"] == "own"
    assert asked(edge, "plain.example")["x-default"] == "d"


@pytest.mark.parametrize(
    ("name", "status"),
    [("plain.example", 200), ("token.example", 401), ("answer.example", 418), ("unknown.example", 404)],
)
def test_late_headers_are_on_every_answer(edge: Envoy, name: str, status: int) -> None:
    response = edge.get(name)
    assert (response.status_code, response.headers[HSTS]) == (status, "max-age=31536000")
    assert response.headers["x-late"] == "%ENVIRONMENT(CANARY)%"
    assert "x-from-backend" not in response.headers


def test_late_headers_are_on_a_refusal_of_the_limiter(edge: Envoy) -> None:
    edge.get("limit.example")
    response = edge.get("limit.example")
    assert (response.status_code, response.headers[HSTS]) == (429, "max-age=31536000")


def test_a_rules_header_changes(edge: Envoy) -> None:
    headers = asked(edge, "change.example", x_set="client", x_add="client", x_gone="1")
    assert headers["x-set"] == "100% %ENVIRONMENT(CANARY)%"
    assert "x-gone" not in headers
    response = edge.get("change.example")
    assert (response.headers["x-set"], response.headers["vary"]) == ("%ENVIRONMENT(CANARY)%", "x")


def test_an_answer_of_the_gateway_is_literal(edge: Envoy) -> None:
    response = edge.get("answer.example")
    assert response.text == '{"detail": "%ENVIRONMENT(CANARY)% 100%"}'
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.headers["x-why"], response.headers["x-b"]) == ("%ENVIRONMENT(CANARY)%", "1")


@pytest.mark.parametrize(
    ("path", "rewritten"),
    [
        ("/full/a?b=c", r"/one\1%2?b=c"),
        ("/foo", "/xyz"),
        ("/foo/", "/xyz/"),
        ("/foo/bar?a=/foo", "/xyz/bar?a=/foo"),
        ("/slash", "/xyz"),
        ("/slash/bar", "/xyz/bar"),
        ("/strip.me", "/"),
        ("/strip.me/", "/"),
        ("/strip.me/bar", "/bar"),
        ("/strip.me?x=1", "/?x=1"),
        ("/empty/bar/", "/bar/"),
        ("/empty", "/"),
        (f"{LONG}/bar", "/bar"),
        (LONG, "/"),
        ("/exact", "/new"),
        ("/other/x", "/in/other/x"),
    ],
)
def test_paths_are_rewritten_by_whole_elements(edge: Envoy, path: str, rewritten: str) -> None:
    assert edge.get("rewrite.example", path).json()["path"] == rewritten


def test_a_prefix_of_a_regular_expression_is_closed(edge: Envoy) -> None:
    assert edge.get("rewrite.example", "/regex1").status_code == 500


def test_the_host_is_rewritten_and_the_old_one_not_passed_on(edge: Envoy) -> None:
    headers = asked(edge, "rewrite.example", "/host")
    assert headers["host"] == "inner.example"
    assert not [name for name, text in headers.items() if "rewrite.example" in text], headers
