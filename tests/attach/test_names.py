"""DNS listeners: the names that they answer, and what they do not take."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from xds_server.compile import Compiled

DNS = "{name: dns, protocol: cellway.dev/DNS, port: 53}"


def world(listener: str = DNS, addresses: str = "addresses: [{type: IPAddress, value: 127.0.0.7}]") -> Compiled:
    hosts = "[shop.example, '*.shop.example']"
    return compiled(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        f"  {addresses}\n  listeners:\n  - {{name: http, protocol: HTTP, port: 80}}\n  - {listener}\n---\n"
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop}\nspec:\n"
        f"  parentRefs: [{{name: edge, sectionName: http}}]\n  hostnames: {hosts}\n"
        "  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}]\n"
    )


def names(result: Compiled) -> tuple[str, ...] | None:
    return next((one.names for one in result.gateways[0].ports if one.name == "default/edge/dns-53"), None)


def test_hosts_with_routes_have_names_and_wildcards_have_none() -> None:
    result = world()
    assert names(result) == ("shop.example",)
    assert result.diagnostics == ()


@pytest.mark.parametrize("field", ["hostname: shop.example", "tls: {certificateRefs: [{name: x}]}"])
def test_what_means_nothing_for_dns_is_refused(field: str) -> None:
    result = world(DNS.replace("port: 53", f"port: 53, {field}"))
    assert [(one.code, one.span.line) for one in result.diagnostics if one.span] == [("A103", 8)]
    assert names(result) is None


def test_two_dns_listeners_cannot_share_a_port() -> None:
    result = world(DNS + "\n  - " + DNS.replace("name: dns", "name: again"))
    assert {one.code for one in result.diagnostics} == {"A103"}
    assert names(result) is None


def test_without_an_address_no_name_is_answered_and_that_is_told() -> None:
    result = world(addresses="gatewayClassName: any")
    assert names(result) == ()
    assert any("spec.addresses" in one.message for one in result.diagnostics)
