"""What an issuer says of itself, when a policy names the issuer alone: what is taken from it, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.translate.graphs import Reporter
from xds_server.features.parts.issuers import OidcProviderSpec, described
from xds_server.types import Fetched

ISSUER = "https://idp.example/realm"
URL = f"{ISSUER}/.well-known/openid-configuration"
SAID = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://idp.example/authorize",
    "token_endpoint": "https://tokens.example/token",
    "end_session_endpoint": "https://idp.example/end",
}


def read(fetched: Fetched, **written: str) -> tuple[OidcProviderSpec | None, list[tuple[str, str]]]:
    reporter = Reporter(documents={URL: fetched})
    found = described(OidcProviderSpec.model_validate({"issuer": ISSUER} | written), reporter)
    return found, [(code, text) for code, _, text in reporter.found]


def test_what_is_not_written_is_taken_from_the_issuer() -> None:
    found, problems = read(Fetched(json.dumps(SAID)), tokenEndpoint="https://own.example/token")
    assert found is not None
    assert not problems
    assert found.authorization_endpoint == "https://idp.example/authorize"
    assert found.token_endpoint == "https://own.example/token"
    assert found.end_session_endpoint == "https://idp.example/end"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example/realm"}, "another issuer"),
        ({"issuer": 1}, "no issuer"),
        ({"token_endpoint": None}, "names no tokenEndpoint"),
        ({"authorization_endpoint": "http://idp.example/authorize"}, "without TLS"),
        ({"end_session_endpoint": "javascript:alert(1)"}, "without TLS"),
        ({"token_endpoint": ["https://idp.example"]}, "tokenEndpoint cannot be used"),
        ({"token_endpoint": "https://idp.example/\r\nx: y"}, "tokenEndpoint cannot be used"),
        ({"authorization_endpoint": "https://idp.example/" + "x" * 3000}, "authorizationEndpoint cannot be used"),
    ],
)
def test_what_is_wrong_closes_the_door_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    found, problems = read(Fetched(json.dumps(SAID | changes)))
    assert found is None
    assert [code for code, _ in problems] == ["F143"]
    assert reason in problems[0][1]


@pytest.mark.parametrize("text", ["", "<html>", "[]", "[" * 100_000])
def test_other_documents_are_no_description(text: str) -> None:
    found, problems = read(Fetched(text))
    assert found is None
    assert [code for code, _ in problems] == ["F143"]
