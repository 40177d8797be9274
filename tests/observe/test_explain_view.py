"""What is explained of requests: who asks, what filters decide, and the way from gateway to gateway."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests import documents
from tests.house.test_layout import ROOT
from xds_server.cli.reading import read
from xds_server.compile import Compiled, Options
from xds_server.explain.request import NotARequestError, read_request
from xds_server.observe.explain_text import lines
from xds_server.observe.explain_view import Question, explain_view, is_served

RULES = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: office}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  authorization:
    defaultAction: Deny
    rules:
    - {name: reads, action: Allow, operation: {methods: [GET]}, principal: {clientCIDRs: [192.0.2.0/24]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: faults}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  faultInjection: {abort: {httpStatus: 503, percentage: 12.5}}
  rateLimit: {local: {rules: [{limit: {requests: 5, unit: Second}}]}}
"""


@cache
def shop() -> Compiled:
    return read([ROOT / "policies" / "shop"], Options()).compiled


def explained(
    compiled: Compiled, method: str, url: str, sender: str = "", stage: str | None = "dev"
) -> tuple[bool, str]:
    answers = explain_view(compiled, Question(read_request(method, url), None, sender, stage))
    return is_served(answers), "\n".join(line for one in answers for line in lines(one))


@pytest.mark.parametrize(
    ("sender", "said"),
    [
        ("192.0.2.7", "lets it pass: allowed by rule default/office/reads"),
        ("198.51.100.7", "answers 403: refused by rule default/office/default"),
        ("", "may answer 403: it hangs on who asks which rule decides: default/office/reads or default/office/default"),
    ],
)
def test_what_filters_decide_hangs_on_who_asks(tmp_path: Path, sender: str, said: str) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    compiled = read([ROOT / "policies" / "quickstart", tmp_path], Options()).compiled
    served, text = explained(compiled, "GET", "http://shop.example/", sender, None)
    assert f"authorization ({tmp_path}/rules.yaml:2) {said}" in text
    passes = not said.startswith("answers")
    assert served is passes
    assert ("may answer 503: 12.5 % are answered with status 503" in text) is passes
    assert ("may answer 429: it takes one of 5 in 1 s (up to 5 at once)" in text) is passes


def test_the_way_through_cells() -> None:
    served, text = explained(shop(), "GET", "http://dev.shop.example.com/api")
    at_north, _, onward = text.partition("from there    orders may be called as")
    assert served
    assert "to north|storefront.bff.http: 127.10.1.11:8080" in at_north
    assert onward.index("storefront/east") < onward.index("orders/west") < onward.index("to west|orders.api.http")
    inside = explained(shop(), "GET", "http://api.orders.cell.internal/", "storefront/bff")
    assert inside[0]
    assert "peers" in inside[1]
    by_certificate = "spiffe://dev.acme.internal/cell/storefront/component/bff"
    assert explained(shop(), "GET", "http://api.orders.cell.internal/", by_certificate) == inside
    at_sidecar, at_east = inside[1].index("storefront/component/bff"), inside[1].index("storefront/east")
    assert at_sidecar < at_east < inside[1].index("orders/west")
    assert explained(shop(), "GET", "http://web/", "storefront/bff")[0]


def test_a_gateway_asks_where_components_without_a_sidecar_do() -> None:
    by_name = explained(shop(), "GET", "http://api.payments.cell.internal/", "orders/api")
    by_certificate = "spiffe://dev.acme.internal/cell/orders/gw/east"
    assert by_name[0]
    assert explained(shop(), "GET", "http://api.payments.cell.internal/", by_certificate) == by_name


@pytest.mark.parametrize(
    ("url", "sender", "said"),
    [
        ("http://api.orders.cell.internal/", "payments", "no answer: cell payments has no east gateway in stage dev"),
        ("http://api.payments.cell.internal/", "storefront/web", "answers with status 403"),
        ("http://api.orders.cell.internal/", "storefront/web", "answers with status 403"),
        ("http://api.orders.cell.internal/", "storefront", "say who asks, storefront/web"),
        (
            "https://api.orders.cell.internal:15443/",
            "spiffe://dev.acme.internal/operator/ann",
            "answers 403: refused by rule not-granted",
        ),
        ("http://api.dev.shop.example.com/v1", "", "answers 401: it needs a token of https://idp.acme.example"),
        ("http://api.mail.example/v1/messages", "orders", "south|mailer: 127.10.2.20:8080"),
    ],
)
def test_who_may_not_is_told_why(url: str, sender: str, said: str) -> None:
    assert said in explained(shop(), "POST" if "mail" in url else "GET", url, sender)[1]


@pytest.mark.parametrize(
    ("sender", "stage", "reason"),
    [
        ("storefrot", None, "did you mean 'storefront'"),
        ("storefront/bf", None, "cell storefront has no component bf; it has web, bff"),
        ("", "production", "there is no stage production; there are: dev, test, prod"),
        ("spiffe://dev.acme.internal/cell/nobody/gw/east", None, "cell nobody is not in stage dev"),
    ],
)
def test_nobody_is_no_sender(sender: str, stage: str | None, reason: str) -> None:
    with pytest.raises(NotARequestError) as caught:
        explained(shop(), "GET", "http://shop.example/", sender, stage)
    assert reason in str(caught.value)


CONNECTIONS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: cellway}
spec: {controllerName: cellway.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: cellway
  addresses: [{type: IPAddress, value: 127.0.0.9}]
  listeners: [{name: tcp, protocol: TCP, port: 7000}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bytes}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.10, port: 80}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: some}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authorization:
    defaultAction: DEFAULT
    rules:
    - {action: Deny, principal: {clientCIDRs: [192.0.2.0/25]}}
    - {action: Allow, principal: {clientCIDRs: [192.0.2.0/24]}}
"""


@pytest.mark.parametrize(
    ("sender", "default", "said"),
    [
        ("192.0.2.200", "Deny", "connections go to default/one"),
        ("192.0.2.7", "Deny", "connections are closed"),
        ("198.51.100.1", "Deny", "connections are closed"),
        ("198.51.100.1", "Allow", "connections go to default/one"),
        ("192.0.2.7", "Allow", "connections are closed"),
        ("", "Deny", "connections go to default/one"),
    ],
)
def test_connections_go_by_the_address_of_the_client(sender: str, default: str, said: str) -> None:
    compiled = documents.compiled(CONNECTIONS.replace("DEFAULT", default))
    assert not compiled.diagnostics
    served, text = explained(compiled, "GET", "http://any.example:7000/", sender, None)
    assert said in text
    assert served is ("closed" not in said)
    assert "it is for clients in 192.0.2." in text
