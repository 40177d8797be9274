"""`cellway explain` as a process: which route wins, why the others lose, who made it, and what the exit code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import QUICKSTART, ROOT
from tests.commands import cellway

SECURED = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules:
  - matches: [{path: {value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
  - matches: [{path: {value: /new}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: inside.example}}]
    timeouts: {request: 3s}
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: shop-v1}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  apiKeyAuth:
    credentialRefs: [{name: planted}]
    extractFrom: [{headers: [x-key]}]
---
apiVersion: v1
kind: Secret
metadata: {name: planted}
stringData: {ann: planted-secret-value}
"""


def test_the_route_that_wins_and_the_one_that_lost() -> None:
    done = cellway("explain", "GET", "http://shop.example/", QUICKSTART)
    assert done.returncode == 0, done.stderr
    assert "routes.yaml:2): the header x-version is missing" in done.stdout
    assert "to 90 % default/shop-v1: 127.0.0.11:3000, 127.0.0.12:3000" in done.stdout
    named = cellway("explain", "get", "http://shop.example/", QUICKSTART, "-H", "X-Version: 2")
    assert "to default/shop-v2: 127.0.0.13:3000" in named.stdout
    assert "shop-v1" not in named.stdout


def test_what_a_policy_does_is_shown_with_its_place_and_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(SECURED, encoding="utf-8")
    asked = ("explain", "GET", "http://web.example:10080/new/a?b=1", QUICKSTART, str(tmp_path))
    done = cellway(*asked, "-H", "x-key: some")
    assert done.returncode == 0, done.stderr
    for text in (f"api_keys ({tmp_path}/web.yaml:18)", "sends /new/a?b=1 with Host inside.example", "within 3 s"):
        assert text in done.stdout, done.stdout
    moved = cellway("explain", "GET", "http://web.example:10080/old/a?b=1", *asked[3:], "-H", "x-key: some")
    assert "redirects with status 301 to http://web.example:10080/new/a?b=1" in moved.stdout
    keyless = cellway("explain", "GET", "http://web.example/new", QUICKSTART, str(tmp_path), "-o", "json")
    assert keyless.returncode == 1, keyless.stderr
    answer = keyless.stdout
    (item,) = json.loads(answer)["items"]
    decided = item["routes"][0]["decisions"][0]
    assert (decided["decision"], decided["status"], decided["says"]) == ("answers", 401, "no key is in x-key")
    assert item["filters"][0] == "envoy.filters.http.api_key_auth"
    assert item["routes"][0]["forwards"]["timeout"] == 3
    assert "planted-secret-value" not in answer + done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["http://nobody.example/"], "status 404: no virtual host is for nobody.example"),
        (["http://api.example/"], "status 404: no route of api.example fits"),
        (["http://shop.example:10080/a%2fb"], "status 400: the path has an escaped slash"),
        (["https://shop.example:10080/"], "no answer: this listener speaks no TLS"),
        (["http://shop.example:81/"], "no gateway has a listener for this request"),
    ],
)
def test_nobody_takes_it(words: list[str], said: str) -> None:
    done = cellway("explain", "GET", *words, QUICKSTART)
    assert done.returncode == 1
    assert said in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["GET", "shop.example", QUICKSTART],
        ["G E T", "http://shop.example/", QUICKSTART],
        ["GET", "http://shop.example/", QUICKSTART, "-H", "nothing"],
        ["GET", "http://shop.example/", QUICKSTART, "--gateway", "default/other"],
        ["GET", "http://shop.example/", str(ROOT / "nowhere")],
        ["GET", "http://shop.example/", "--admin", "127.0.0.1:1"],
    ],
)
def test_what_cannot_be_asked_is_trouble(words: list[str]) -> None:
    done = cellway("explain", *words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
