"""Requests of other sites in a real Envoy: which are refused, and which methods and origins are compared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.csrf import CsrfSpec
from xds_server.graph import Setting


def csrf(**written: Any) -> Setting:
    return setting("csrf", CsrfSpec, written)


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    action = forward(backend(envoy.server().address))
    origins = ["https://partner.example", "*.friends.example", "http://*.port.example:8443"]
    envoy.apply(
        gateway(
            host("own.example", route(action, csrf())),
            host("more.example", route(action, csrf(additionalOrigins=origins))),
            host("shadow.example", route(action, csrf(shadowFraction={"numerator": 100}))),
            host("open.example", route(action)),
        )
    )
    return envoy


def post(edge: Envoy, name: str, origin: str = "", method: str = "POST", **headers: str) -> int:
    return edge.get(name, "/", method, **({"origin": origin} if origin else {}), **headers).status_code


def test_other_sites_change_nothing(edge: Envoy) -> None:
    refused = edge.get("own.example", "/", "POST", origin="https://evil.example")
    assert (refused.status_code, refused.text) == (403, "Invalid origin")
    assert post(edge, "own.example") == 403, "neither Origin nor Referer"
    assert post(edge, "own.example", "null") == 403
    assert post(edge, "own.example", "https://own.example.evil.example") == 403
    assert post(edge, "own.example", "https://own.example:8443") == 403
    assert post(edge, "own.example", referer="https://evil.example/own.example") == 403
    assert post(edge, "own.example", "https://evil.example", method="DELETE") == 403


def test_the_own_site_and_reading_go_through(edge: Envoy) -> None:
    assert post(edge, "own.example", "https://own.example") == 200
    assert post(edge, "own.example", referer="https://own.example/form") == 200
    assert post(edge, "own.example", "https://evil.example", method="GET") == 200
    assert post(edge, "open.example", "https://evil.example") == 200


def test_more_origins(edge: Envoy) -> None:
    for origin in (
        "https://friends.example",
        "https://evilfriends.example",
        "https://a.port.example",
        "https://x.partner.example",
    ):
        assert post(edge, "more.example", origin) == 403, origin
    for origin in ("https://partner.example", "https://a.b.friends.example", "https://a.port.example:8443"):
        assert post(edge, "more.example", origin) == 200, origin


def test_a_shadow_only_counts(edge: Envoy) -> None:
    counter = "http.default/edge/http.csrf.request_invalid"
    before = edge.stat(counter)
    assert post(edge, "shadow.example", "https://evil.example") == 200
    assert edge.stat(counter) == before + 1
