"""North with a certificate: TLS by SNI, plain HTTP redirected, HSTS everywhere, keys shown nowhere."""

from __future__ import annotations

import json
import socket
import ssl

import httpx
import pytest

from tests.e2e import shop
from tests.e2e.certificates import self_signed
from tests.e2e.running import Cellway


def secret(name: str, certificate: str, key: str) -> str:
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: storefront}}\ntype: kubernetes.io/tls\n"
        f"stringData: {{tls.crt: {json.dumps(certificate)}, tls.key: {json.dumps(key)}}}\n"
    )


@pytest.fixture
def north(cellway: Cellway) -> tuple[Cellway, str, str]:
    certificate, key = self_signed("shop.example.com")
    shop.write_shop(cellway, quota=False)
    own = "gateways: {north: {hostnames: [shop.example.com]}}"
    tls = "gateways: {north: {hostnames: [shop.example.com], tls: {certificateRef: shop-cert}}}"
    cellway.write("cells/storefront.yaml", shop.STOREFRONT.replace(own, tls))
    cellway.write("secret.yaml", secret("shop-cert", certificate, key))
    shop.start_servers(cellway)
    cellway.start()
    return cellway, certificate, key


def request(cellway: Cellway, certificate: str, host: str, path: str = "/", name: str = "shop.example.com") -> str:
    context = ssl.create_default_context(cadata=certificate)
    with (
        socket.create_connection((cellway.block.address(1), 8443), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode().lower()


def test_north_serves_tls_and_sends_plain_http_there(north: tuple[Cellway, str, str]) -> None:
    cellway, certificate, key = north
    answer = request(cellway, certificate, "shop.example.com:8443")
    assert answer.startswith("http/1.1 200")
    assert "strict-transport-security: max-age=31536000" in answer

    unknown = request(cellway, certificate, "api.shop.example.com")
    assert unknown.startswith("http/1.1 404")
    assert "strict-transport-security: max-age=31536000" in unknown
    assert unknown.endswith("\r\n\r\n"), "the body is empty"

    plain = f"http://{cellway.block.address(1)}:8080/a?b=c"
    for method in ("GET", "POST"):
        moved = httpx.request(method, plain, headers={"Host": "shop.example.com:8080"}, timeout=30)
        assert moved.status_code == 308
        assert moved.headers["location"] == "https://shop.example.com:8443/a?b=c"
        assert "strict-transport-security" not in moved.headers

    middle = key.splitlines()[2]
    shown = [
        httpx.get(f"{cellway.admin}/api/v1/{path}", timeout=30).text for path in ("objects", "proxies", "diagnostics")
    ]
    shown += [httpx.get(f"{cellway.admin}/metrics", timeout=30).text, cellway.log()]
    assert not any(middle in text for text in shown), "the key is shown nowhere"


def test_a_new_certificate_is_served_without_a_restart(north: tuple[Cellway, str, str]) -> None:
    cellway, old, _ = north
    with httpx.Client(verify=ssl.create_default_context(cadata=old), timeout=30) as client:
        url, asked = f"https://{cellway.block.address(1)}:8443/", {"Host": "shop.example.com"}
        names = {"sni_hostname": "shop.example.com"}
        first = client.get(url, headers=asked, extensions=names)
        before = first.extensions["network_stream"].get_extra_info("client_addr")
        certificate, key = self_signed("shop.example.com")
        cellway.write("secret.yaml", secret("shop-cert", certificate, key))
        cellway.wait()
        assert request(cellway, certificate, "shop.example.com").startswith("http/1.1 200")
        second = client.get(url, headers=asked, extensions=names)
        assert (first.status_code, second.status_code) == (200, 200)
        after = second.extensions["network_stream"].get_extra_info("client_addr")
        assert before == after, "the connection of before is still there"


def test_a_key_that_does_not_fit_is_told_and_the_listener_is_not_served(cellway: Cellway) -> None:
    certificate, _ = self_signed("shop.example.com")
    _, other = self_signed("shop.example.com")
    shop.write_shop(cellway, quota=False)
    own = "gateways: {north: {hostnames: [shop.example.com]}}"
    tls = "gateways: {north: {hostnames: [shop.example.com], tls: {certificateRef: shop-cert}}}"
    cellway.write("cells/storefront.yaml", shop.STOREFRONT.replace(own, tls))
    cellway.write("secret.yaml", secret("shop-cert", certificate, other))
    shop.start_servers(cellway)
    cellway.start()
    assert "tls.key does not belong" in str(cellway.api("diagnostics"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((cellway.block.address(1), 8443), timeout=2)
