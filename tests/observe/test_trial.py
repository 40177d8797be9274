"""What a real Envoy refuses is told at the document that made it, and nothing else is.

Mistakes that no check before Envoy finds are planted into what is asked: a type that Envoy does not know.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.documents import compiled
from xds_server.diagnostics import Diagnostic
from xds_server.observe.trial_view import refused, trial_view
from xds_server.supervise.trial import try_bootstrap

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.get("CELLWAY_ENVOY") or ROOT / ".envoy" / "bin" / "envoy").resolve()
BAD = {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.Nonsense"}}
POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 10080}, {name: tcp, protocol: TCP, port: 10081}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: more}
spec:
  parentRefs: [{name: edge}]
  rules: [{matches: [{path: {value: /m}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: two}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3001}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: calm}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: more}]
  faultInjection: {delay: {fixedDelay: 1s, percentage: 1}}
"""


def tried(change: Callable[[dict[str, Any]], None]) -> list[Diagnostic]:
    """What is told when Envoy is asked about bootstraps with a mistake in them."""

    def ask(bootstrap: dict[str, Any]) -> str:
        for name in ("clusters", "listeners"):
            for one in bootstrap["static_resources"][name]:
                walk(one, change)
        return try_bootstrap(BINARY, bootstrap)

    return list(trial_view(compiled(POLICIES), ask))


def walk(value: Any, change: Callable[[dict[str, Any]], None]) -> None:
    if isinstance(value, dict):
        change(value)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        walk(one, change)


def test_what_envoy_takes_is_not_told() -> None:
    assert tried(lambda _: None) == []


@pytest.mark.parametrize(
    ("name", "field", "subject", "what"),
    [
        ("default/two", "transport_socket", "Backend default/two", "cluster default/two"),
        (
            "httproute/default/more/rule/0/match/0",
            "typed_per_filter_config",
            "HTTPRoute default/more",
            "route httproute",
        ),
        ("default/edge/tcp-10081", "listener_filters", "Gateway default/edge", "listener default/edge/tcp-10081"),
        (
            "envoy.filters.http.fault",
            "typed_config",
            "BackendTrafficPolicy default/calm",
            "filter envoy.filters.http.fault",
        ),
    ],
)
def test_what_envoy_refuses_is_told_where_it_is_written(name: str, field: str, subject: str, what: str) -> None:
    values: dict[str, Any] = {
        "transport_socket": BAD,
        "listener_filters": [BAD],
        "typed_config": BAD["typed_config"],
        "typed_per_filter_config": {"cellway.peers": BAD["typed_config"]},
    }

    def plant(node: dict[str, Any]) -> None:
        if node.get("name") == name:
            node[field] = values[field]

    (found,) = tried(plant)
    assert (found.code, found.subject) == ("T130", subject)
    assert found.message.startswith(f"Envoy itself refuses the {what}")
    assert "Nonsense" in found.message
    assert found.span is not None


def test_what_cannot_be_told_apart_is_told_of_the_gateway() -> None:
    def ask(bootstrap: dict[str, Any]) -> str:
        return try_bootstrap(BINARY, bootstrap | {"nonsense": 1}) if bootstrap["static_resources"]["listeners"] else ""

    (found, *_) = trial_view(compiled(POLICIES), ask)
    assert found.subject == "Gateway default/edge"
    assert "nonsense" in found.message


def test_words_of_envoy_that_quote_a_secret_are_shown_without_it() -> None:
    given = """---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {ann: canary-api-key}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}
"""
    (found, *_) = trial_view(compiled(POLICIES + given), lambda bootstrap: f"I refuse {bootstrap}")
    assert "I refuse" in found.message
    assert "canary-api-key" not in found.message
    assert base64.b64encode(b"canary-api-key").decode() not in found.message


def test_parts_are_looked_for_by_halves() -> None:
    asked: list[list[str]] = []

    def ask(some: Any) -> str:
        asked.append([one["name"] for one in some])
        return "no" if {"name": "g"} in some else ""

    assert list(refused([{"name": name} for name in "abcdefgh"], ask)) == [("g", "no")]
    assert len(asked) == 7
    assert list(refused([], ask)) == []


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "nonsense" in try_bootstrap(BINARY, {"nonsense": 1})
    assert list(tmp_path.iterdir()) == []
