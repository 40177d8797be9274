"""North as the internet meets it: TLS by name, a CDN in front, and nothing internal in either direction.

The numbers in the names of tests are those of the behaviours that the product promises for cells.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
from cryptography import x509

from tests.e2e import shop
from tests.e2e.certificates import Authority
from tests.e2e.running import Cellway
from tests.e2e.shop import BASES
from tests.e2e.tokens import bearer

SHOP, API = "shop.example.com", "api.shop.example.com"
SECOND = "boutique.example.com"
HSTS = "max-age=31536000"
CDN, DIRECT = 201, 202
EDGE = "  edge: {trustedProxies: [ADDR.201/32], trustedHops: 1}\n"
STRICT = """---
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: strict}
spec:
  extends: standard
  overrides:
    north:
      security: {jwt: {providers: [{name: acme-idp}]}}
      tls: {minVersion: "1.3", redirect: 307, hsts: max-age=60}
"""
POLICIES = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: partners, namespace: storefront}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: storefront, sectionName: north.bff.http}]
  authorization:
    defaultAction: Deny
    rules: [{name: partners, action: Allow, principal: {clientCIDRs: [198.51.100.0/24]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: weak, namespace: orders}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: north.api.http}]
  jwt: {optional: true, providers: [{name: acme-idp}]}
"""


@dataclass(frozen=True)
class North:
    """The shop with TLS on its north gateways and a CDN in front of them. `ca` is who signed the certificates."""

    cellway: Cellway
    ca: str

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)

    def ask(
        self,
        url: str,
        *,
        source: int = CDN,
        cell: str = "storefront",
        sni: str = "",
        headers: dict[str, str] | None = None,
        method: str = "GET",
    ) -> httpx.Response:
        """A request to a URL, sent to the north gateway of a cell from one of the block's addresses."""
        asked = httpx.URL(url)
        address = self.cellway.block.address(BASES[cell] + 1)
        transport = httpx.HTTPTransport(verify=self.context(), local_address=self.cellway.block.address(source))
        with httpx.Client(transport=transport, timeout=10) as client:
            return client.request(
                method,
                asked.copy_with(host=address),
                headers={"Host": asked.netloc.decode(), **(headers or {})},
                extensions={"sni_hostname": sni or asked.host},
            )


def secret(name: str, namespace: str, pair: tuple[str, str]) -> str:
    certificate, key = pair
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\n"
        f"stringData: {{tls.crt: {json.dumps(certificate)}, tls.key: {json.dumps(key)}}}\n"
    )


def with_tls(cell: str, hosts: str) -> str:
    own = next(line for line in cell.splitlines() if "hostnames:" in line)
    return cell.replace(own, f"  gateways: {{north: {{hostnames: [{hosts}], tls: {{certificateRef: cert}}}}}}")


@pytest.fixture(scope="module")
def north(shared: Callable[..., Cellway]) -> North:
    cellway, authority = shared(), Authority()
    shop.write_shop(cellway, quota=False)
    organization = (cellway.folder / "organization.yaml").read_text(encoding="utf-8")
    text = organization.replace("  identityProviders:", f"{EDGE}  identityProviders:", 1)
    cellway.write("organization.yaml", text)
    cellway.write("strict.yaml", STRICT)
    cellway.write("cells/storefront.yaml", with_tls(shop.STOREFRONT, f"{SHOP}, {SECOND}"))
    orders = with_tls(shop.ORDERS, API).replace("spec:\n", "spec:\n  class: strict\n")
    cellway.write("cells/orders.yaml", orders)
    cellway.write("policies.yaml", POLICIES)
    cellway.write("secrets/shop.yaml", secret("cert", "storefront", authority.issue(SHOP, SECOND)))
    cellway.write("secrets/api.yaml", secret("cert", "orders", authority.issue(API)))
    shop.start_servers(cellway)
    cellway.start()
    return North(cellway, authority.certificate)


def certificate_names(north: North, cell: str, sni: str) -> set[str]:
    """The DNS names in the certificate that a gateway shows for a name."""
    address = (north.cellway.block.address(BASES[cell] + 1), 8443)
    with (
        socket.create_connection(address, timeout=30) as plain,
        north.context().wrap_socket(plain, server_hostname=sni) as connection,
    ):
        shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


def test_north_shows_the_certificate_of_the_name_that_is_asked_for(north: North) -> None:
    assert certificate_names(north, "storefront", SHOP) == {SHOP, SECOND}
    assert certificate_names(north, "storefront", SECOND) == {SHOP, SECOND}
    assert certificate_names(north, "orders", API) == {API}
    for host in (SHOP, SECOND):
        assert north.ask(f"https://{host}:8443/").json()["host"] == f"{host}:8443"


@pytest.mark.parametrize("name", ["nowhere.example", API, "x.shop.example.com", ""])
def test_north_shows_no_certificate_for_an_unknown_name(north: North, name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((north.cellway.block.address(1), 8443), timeout=30) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        context.wrap_socket(plain, server_hostname=name or None),
    ):
        raise AssertionError("somebody gave a certificate for a name that is not served")


@pytest.mark.parametrize("host", ["nowhere.example", API, "api.orders.cell.internal"])
def test_15_a_foreign_host_on_a_good_connection_is_an_empty_404(north: North, host: str) -> None:
    answer = north.ask(f"https://{host}:8443/", sni=SHOP)
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_16_plain_http_is_redirected_with_its_host_and_the_right_port(north: North, method: str) -> None:
    for host in (SHOP, SECOND):
        moved = north.ask(f"http://{host}:8080/a?b=c", method=method)
        assert (moved.status_code, moved.headers["location"]) == (308, f"https://{host}:8443/a?b=c")
        assert "strict-transport-security" not in moved.headers


@pytest.mark.parametrize("host", ["nowhere.example", API])
def test_16_plain_http_for_a_foreign_host_is_not_redirected(north: North, host: str) -> None:
    answer = north.ask(f"http://{host}:8080/")
    assert (answer.status_code, answer.content) == (404, b"")
    assert "strict-transport-security" not in answer.headers


def test_16_every_answer_over_tls_tells_browsers_to_stay_there(north: North) -> None:
    answers = {
        200: north.ask(f"https://{SHOP}:8443/"),
        503: north.ask(f"https://{SHOP}:8443/status/503"),
        404: north.ask("https://nowhere.example:8443/", sni=SHOP),
        400: north.ask(f"https://{SHOP}:8443/a%2fb"),
        403: north.ask(f"https://{SHOP}:8443/", source=DIRECT),
        421: north.ask(f"https://{SECOND}:8443/", sni=SHOP),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers.get("strict-transport-security")) == (status, HSTS)
        internal = [name for name in answer.headers if name == "server" or name.startswith(("x-envoy-", "x-cell-"))]
        assert internal == [], status
    refused = north.ask(f"https://{API}:8443/v1/x", cell="orders")
    assert (refused.status_code, refused.headers["strict-transport-security"]) == (401, "max-age=60"), (
        "as its class says"
    )


def test_a_class_says_which_tls_and_how_to_get_there(north: North) -> None:
    moved = north.ask(f"http://{API}:8080/v1/x", cell="orders")
    assert (moved.status_code, moved.headers["location"]) == (307, f"https://{API}:8443/v1/x")
    old = north.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for cell, name, served in (("storefront", SHOP, True), ("orders", API, False)):
        with socket.create_connection((north.cellway.block.address(BASES[cell] + 1), 8443), timeout=30) as plain:
            try:
                with old.wrap_socket(plain, server_hostname=name) as connection:
                    version = connection.version()
            except ssl.SSLError:
                version = None
        assert (version == "TLSv1.2") == served, cell


def test_17_nothing_that_only_gateways_may_say_comes_in(north: North) -> None:
    forged = {
        "x-cell-caller": "spiffe://dev.acme.internal/cell/admin/gw/east",
        "x-user-sub": "root",
        "x-forwarded-client-cert": "URI=spiffe://dev.acme.internal/cell/admin/gw/east",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-max-retries": "5",
        "x-envoy-retry-on": "5xx",
        "x-envoy-original-path": "/admin",
    }
    server = next(one for one in north.cellway.upstreams if one.name == "web")
    before = len(server.seen)
    answer = north.ask(f"https://{SHOP}:8443/status/503/delay/0.2", headers=forged)
    assert answer.status_code == 503, "neither the timeout nor the retries of the client count"
    assert len(server.seen) - before == 1
    assert not set(server.seen[-1]["headers"]) & (set(forged) - {"x-envoy-original-path"})
    assert server.seen[-1]["headers"].get("x-envoy-original-path") != "/admin"


def test_18_tokens_missing_expired_and_for_somebody_else(north: North) -> None:
    url = f"https://{API}:8443/v1/x"
    answer = north.ask(url, cell="orders")
    assert (answer.status_code, answer.text) == (401, "Jwt is missing")
    answer = north.ask(url, cell="orders", headers=bearer(lifetime=-600))
    assert (answer.status_code, answer.text) == (401, "Jwt is expired")
    answer = north.ask(url, cell="orders", headers=bearer(audience="other"))
    assert (answer.status_code, answer.text) == (403, "Audiences in Jwt are not allowed")
    assert north.ask(url, cell="orders", headers=bearer()).status_code == 200


def raw(north: North, cell: str, host: str, path: str) -> str:
    """The status line for a path that is sent exactly as it is."""
    with (
        socket.create_connection(
            (north.cellway.block.address(BASES[cell] + 1), 8443),
            timeout=5,
            source_address=(north.cellway.block.address(CDN), 0),
        ) as plain,
        north.context().wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(4096).decode().partition("\r\n")[0]


def test_19_a_path_is_decided_on_as_it_will_be_read(north: North) -> None:
    assert raw(north, "orders", API, "/public%2f..%2fv1/x").startswith("HTTP/1.1 400")
    assert raw(north, "orders", API, "/public/../v1/x").startswith("HTTP/1.1 401")
    assert raw(north, "orders", API, "//v1//x").startswith("HTTP/1.1 401")


def test_21_nobody_but_the_cdn_gets_in(north: North) -> None:
    server = next(one for one in north.cellway.upstreams if one.name == "web")
    before = len(server.seen)
    for url in (f"https://{SHOP}:8443/", f"http://{SHOP}:8080/"):
        claimed = {"x-forwarded-for": north.cellway.block.address(CDN)}
        assert north.ask(url, source=DIRECT).status_code == 403
        assert north.ask(url, source=DIRECT, headers=claimed).status_code == 403
    assert len(server.seen) == before
    assert north.ask(f"https://{SHOP}:8443/").status_code == 200


def test_21_the_client_is_the_one_whom_the_cdn_names(north: North) -> None:
    def partner(forwarded: str) -> int:
        return north.ask(f"https://{SHOP}:8443/api/x", headers={"x-forwarded-for": forwarded}).status_code

    assert partner("198.51.100.7") == 200
    assert partner("203.0.113.9, 198.51.100.7") == 200
    assert partner("203.0.113.9") == 403
    assert partner("198.51.100.7, 203.0.113.9") == 403, "what the client itself wrote comes first and does not count"


def test_24_a_policy_that_weakens_what_the_class_demands_has_no_effect_and_says_so(north: North) -> None:
    assert north.ask(f"https://{API}:8443/v1/x", cell="orders").status_code == 401
    (place,) = north.cellway.object("SecurityPolicy", "weak")["status"]["ancestors"]
    conditions = {one["type"]: one for one in place["conditions"]}
    assert conditions["Overridden"]["status"] == "True"
    assert "CellClass strict overrides security.jwt.optional" in conditions["Overridden"]["message"]
    (cell,) = north.cellway.api("cells/orders/effective")["items"]
    section = next(one for one in cell["sections"] if one["section"] == "north.api.http")
    names = next(one for one in section["settings"] if one["field"] == "security.jwt.providers")
    assert (names["setBy"]["layer"], names["setBy"]["object"]) == ("class override", "CellClass strict")
    assert [one["object"] for one in names["overridden"]] == ["SecurityPolicy orders/weak"]


def test_cells_say_that_the_internet_reaches_them(north: North) -> None:
    conditions = north.cellway.object("Cell", "storefront")["status"]["conditions"]
    assert {"Exposed"} == {one["type"] for one in conditions if one["type"] == "Exposed" and one["status"] == "True"}
    assert all(one["type"] != "Exposed" for one in north.cellway.object("Cell", "payments")["status"]["conditions"])
