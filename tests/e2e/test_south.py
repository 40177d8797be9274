"""What leaves a cell: to whom, with what in its headers, and what never does."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.commands import cellway as command
from tests.e2e import south
from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy
from tests.e2e.south import HTTP, SOUTH, TLS, Internet, ask, over_tls, raw, said, tunnel


@pytest.fixture(scope="module")
def internet(cellway: Cellway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    running = Internet(cellway, tmp_path_factory.mktemp("internet"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def cellway(shared: Callable[..., Cellway]) -> Cellway:
    return shared()


@pytest.fixture(scope="module")
def cell(cellway: Cellway, internet: Internet) -> Cellway:
    south.write(cellway, internet)
    cellway.start()
    return cellway


# -- 33, 34: who is reached ----------------------------------------------------------------------------


def test_a_declared_host_is_reached_by_its_name_its_logical_name_and_as_a_proxy(cell: Cellway) -> None:
    assert said(cell, "api.open.example")["headers"]["host"] == "api.open.example"
    assert said(cell, "open.external.cell.internal")["headers"]["host"] == "api.open.example"
    with httpx.Client(proxy=f"http://{cell.block.address(SOUTH)}:{HTTP}") as client:
        answer = client.get("http://api.open.example/x", timeout=10).json()
    assert (answer["path"], answer["headers"]["host"]) == ("/x", "api.open.example")


@pytest.mark.parametrize("host", ["undeclared.example", "127.0.0.1", "10.1.2.3", "api.open.example:1"])
def test_nothing_else_is_reached_and_the_reason_is_told(cell: Cellway, internet: Internet, host: str) -> None:
    before = internet.requests
    answer = ask(cell, host)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "external-not-allowed")
    assert internet.requests == before


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("other.example:443", "external-not-allowed"),
        ("vault.example:22", "external-not-allowed"),
        ("127.0.0.1:22", "external-not-allowed"),
        ("api.cards.example:8443", "method-not-allowed"),
        ("queue.example:443", "external-not-allowed"),
    ],
)
def test_tunnels_to_anything_else_are_refused(cell: Cellway, internet: Internet, target: str, reason: str) -> None:
    before = internet.secure.connections
    answer = raw(cell, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    assert f"x-cell-deny: {reason}".encode() in answer
    assert internet.secure.connections == before


# -- several ports -------------------------------------------------------------------------------------


def test_the_port_of_the_host_picks_the_port_of_the_service(cell: Cellway) -> None:
    for host in ("api.many.example", "other.many.example"):
        assert said(cell, host)["server"] == "many-plain"
        assert said(cell, f"{host}:8080")["server"] == "many-plain"
        secure = said(cell, f"{host}:8443")
        assert (secure["server"], secure["headers"]["host"]) == ("many-secure", host)
    assert said(cell, "many.external.cell.internal:8443")["headers"]["host"] == "api.many.example"


# -- 35: what leaves -----------------------------------------------------------------------------------


def test_the_gateway_shows_its_credential_and_nobody_elses(cell: Cellway) -> None:
    told = said(cell, "api.cards.example", "/v1/charges", authorization="Bearer of-a-user")["headers"]
    assert told["authorization"] == "Bearer xyzzy-dev", "the one of this stage, in place of the component's"
    told = said(cell, "api.mail.example", authorization="Bearer of-a-user", x_api_key="mine")["headers"]
    assert told["x-api-key"] == "xyzzy-mail"
    assert "authorization" not in told
    told = said(cell, "api.basic.example", authorization="Bearer of-a-user")["headers"]
    assert base64.b64decode(told["authorization"].removeprefix("Basic ")) == b"shop:xyzzy-password"
    told = said(cell, "api.open.example", authorization="Bearer of-the-component")["headers"]
    assert told["authorization"] == "Bearer of-the-component", "where the gateway has nothing to show"


def test_a_token_is_fetched_with_the_secret_of_the_client(cell: Cellway, internet: Internet) -> None:
    deadline = time.monotonic() + 60
    while (answer := ask(cell, "api.tokens.example", authorization="mine")).status_code == 401:
        assert time.monotonic() < deadline, "no token came"
        time.sleep(0.05)
    assert answer.json()["headers"]["authorization"] == "Bearer token-of-shop-client_credentials-read"
    asked = next(one for one in internet.plain.seen if one["path"] == "/token")
    assert "client_secret=xyzzy-client" in asked["body"]


def test_what_is_inside_stays_inside(cell: Cellway) -> None:
    inside = {
        "cookie": "session=1", "x_cell_caller": "me", "x_user_sub": "ann", "x_envoy_max_retries": "9",
        "x_envoy_something": "1", "x_envoy_original_host": "x", "x_forwarded_for": "10.0.0.1", "forwarded": "for=10.0.0.1",
        "proxy_authorization": "Basic x", "x_forwarded_client_cert": "x",
    }  # fmt: skip
    for host in ("api.mail.example", "mail.external.cell.internal"):
        told = said(cell, host, x_own="kept", **inside)["headers"]
        leaked = [name for name in told if name.startswith(("x-envoy-", "x-cell-", "x-user-", "x-forwarded-"))]
        assert leaked == []
        assert not {"cookie", "forwarded", "proxy-authorization"} & set(told)
        assert told["x-own"] == "kept"


# -- 36, 37: credentials -------------------------------------------------------------------------------


def test_without_its_secret_nothing_goes_out_and_the_status_says_so(cell: Cellway, internet: Internet) -> None:
    before = internet.requests
    answer = ask(cell, "missing.example", authorization="Bearer of-a-user")
    assert (answer.status_code, answer.text) == (401, "Failed to inject credential.")
    assert answer.headers["x-cell-deny"] == "credential-missing"
    assert internet.requests == before
    conditions = cell.object("Cell", "orders")["status"]["conditions"]
    assert [one["reason"] for one in conditions if one["type"] == "ResolvedRefs"] == ["CredentialMissing"]


def test_a_new_value_is_sent_without_a_lost_request(cell: Cellway) -> None:
    with Load(cell.block.address(SOUTH), HTTP, "api.mail.example", rate=50) as load:
        cell.write("secrets/mail-key.yaml", south.secret("mail-key", credential="xyzzy-fresh"))
        cell.wait()
        deadline = time.monotonic() + 60
        while said(cell, "api.mail.example")["headers"]["x-api-key"] != "xyzzy-fresh":
            assert time.monotonic() < deadline, "the old value is still sent"
            time.sleep(0.02)
    assert load.failures() == {}


def test_a_secret_is_shown_nowhere(cell: Cellway) -> None:
    said(cell, "api.cards.example", "/v1/charges")
    shown = json.dumps([cell.api(path) for path in ("objects", "proxies", "diagnostics")]) + cell.log()
    shown += httpx.get(f"{cell.admin}/metrics", timeout=10).text
    for proxy in cell.api("proxies")["items"]:
        for path in ("config_dump?include_eds", "stats", "clusters"):
            shown += ask_envoy(proxy["admin"], f"/{path}").text
    for what in ("resources", "objects", "status", "effective", "bootstrap"):
        shown += command("render", str(cell.folder), "--as", what).stdout
    kept = {cell.state / "in-force", cell.state / "history"}  # the policy files themselves
    for log in (path for path in cell.state.rglob("*") if not kept.intersection(path.parents)):
        shown += log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    assert "api.cards.example" in shown
    for value in ("xyzzy", base64.b64encode(b"shop:xyzzy-password").decode(), base64.b64encode(b"xyzzy-dev").decode()):
        assert value not in shown


# -- 38: to whom TLS is spoken -------------------------------------------------------------------------


def test_a_wrong_certificate_gets_no_byte_of_the_request(cell: Cellway, internet: Internet) -> None:
    assert ask(cell, "wrong.example").status_code == 503
    assert internet.impostor.connections > 0
    deadline = time.monotonic() + 60
    while south.stat(cell, r"cluster\.south\|wrong.*\.ssl\.fail_verify_san") == 0:
        assert time.monotonic() < deadline, "it was not the certificate"
        time.sleep(0.05)
    assert internet.impostor.seen == []


# -- 39: rules -----------------------------------------------------------------------------------------


def test_rules_hold_for_methods_and_normalised_paths(cell: Cellway, internet: Internet) -> None:
    host = "api.cards.example"
    assert said(cell, host, "/v1/charges", "POST")["method"] == "POST"
    assert said(cell, host, "/v1/charges/7")["path"] == "/v1/charges/7"
    before = internet.requests
    for method, path in (("DELETE", "/v1/charges"), ("GET", "/v1/refunds"), ("GET", "/v1/chargesx")):
        answer = ask(cell, host, path, method)
        assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "method-not-allowed")
    for path in ("/v1/charges/../refunds", "/v1/charges/%2e%2e/refunds", "/v1//charges/../refunds"):
        assert raw(cell, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").startswith(b"HTTP/1.1 403"), path
    assert raw(cell, f"GET /v1/charges%2f..%2frefunds HTTP/1.1\r\nHost: {host}\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert internet.requests == before


# -- 40: passed through --------------------------------------------------------------------------------


def test_a_listed_name_is_passed_through_by_sni(cell: Cellway, internet: Internet) -> None:
    for name, server in (("vault.example", "secure"), ("other.many.example", "many-tunnel")):
        with socket.create_connection((cell.block.address(SOUTH), TLS), timeout=10) as connection:
            assert over_tls(connection, internet, name)["server"] == server


@pytest.mark.parametrize("name", ["api.cards.example", "undeclared.example", None])
def test_a_name_that_is_not_listed_is_cut_off(cell: Cellway, internet: Internet, name: str | None) -> None:
    before = internet.secure.connections
    with (
        socket.create_connection((cell.block.address(SOUTH), TLS), timeout=10) as connection,
        pytest.raises((ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)),
    ):
        over_tls(connection, internet, name)
    assert internet.secure.connections == before


def test_a_tunnel_to_a_listed_host_and_port_carries_what_it_gets(cell: Cellway, internet: Internet) -> None:
    for target, server in (("vault.example:8443", "secure"), ("api.many.example:9443", "many-tunnel")):
        with tunnel(cell, target) as connection:
            assert over_tls(connection, internet, target.partition(":")[0])["server"] == server
    with tunnel(cell, "db.example:5432") as connection:
        assert connection.recv(100) == b"database ready\n"


# -- TCP -----------------------------------------------------------------------------------------------


def test_a_tunnel_lasts_longer_than_a_request(cell: Cellway) -> None:
    with tunnel(cell, "db.example:5432") as connection:
        assert connection.recv(100) == b"database ready\n"
        since = time.monotonic()
        while time.monotonic() < since + 6:  # requests have five seconds here
            connection.sendall(b"select\n")
            assert connection.recv(100) == b"SELECT\n"
            time.sleep(0.1)


def test_bytes_have_a_port_of_their_own(cell: Cellway) -> None:
    for port, greeting in ((6543, b"database ready\n"), (5671, b"queue ready\n")):
        with socket.create_connection((cell.block.address(SOUTH), port), timeout=10) as connection:
            assert connection.recv(100) == greeting, "for the queue the gateway speaks TLS"
            connection.sendall(b"select\n")
            assert connection.recv(100) == b"SELECT\n"


# -- 41: addresses inside ------------------------------------------------------------------------------


def test_a_class_denies_addresses_inside(cell: Cellway, internet: Internet) -> None:
    """Every service is on loopback here."""
    strict = "apiVersion: cellway.dev/v1alpha1\nkind: CellClass\nmetadata: {name: strict}\n"
    cell.write("class.yaml", f"{strict}spec: {{overrides: {{south: {{denyPrivateAddresses: true}}}}}}\n")
    cell.write("cell.yaml", south.CELL.replace("class: standard", "class: strict"))
    cell.wait()
    before = internet.requests
    for host, path in (("api.open.example", "/"), ("api.cards.example", "/v1/charges"), ("api.many.example:8443", "/")):
        answer = ask(cell, host, path)
        assert (answer.status_code, answer.text) == (403, "RBAC: access denied"), host
    for target in ("vault.example:8443", "db.example:5432"):
        assert raw(cell, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").startswith(b"HTTP/1.1 403")
    for name, port in (("db", 6543), ("queue", 5671)):
        denied = south.stat(cell, rf"cluster\.south\|{name}\.rbac\.denied")
        with socket.create_connection((cell.block.address(SOUTH), port), timeout=10) as connection:
            assert connection.recv(100) == b"", "closed"
        assert south.stat(cell, rf"cluster\.south\|{name}\.rbac\.denied") == denied + 1
    with (
        socket.create_connection((cell.block.address(SOUTH), TLS), timeout=10) as connection,
        pytest.raises((ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)),
    ):
        over_tls(connection, internet, "vault.example")
    assert south.stat(cell, r"cluster\.south\|vault\.rbac\.denied") == 2, "once by CONNECT, once by SNI"
    assert internet.requests == before
    cell.write("cell.yaml", south.CELL)
    cell.wait()
    assert ask(cell, "api.open.example").status_code == 200


# -- 42: what another cell declared --------------------------------------------------------------------


def test_what_was_declared_and_is_not_any_more_is_refused(cell: Cellway, internet: Internet) -> None:
    assert ask(cell, "api.open.example").status_code == 200
    cell.write("cell.yaml", south.CELL.replace("  - {name: open, external: open}\n", ""))
    cell.wait()
    answer = ask(cell, "api.open.example")
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "external-not-allowed")
    cell.write("cell.yaml", south.CELL)
    cell.wait()
    assert ask(cell, "api.open.example").status_code == 200
