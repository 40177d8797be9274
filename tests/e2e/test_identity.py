"""Cells know each other by certificates: whom west lets in, whom east trusts, and what happens to everybody else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import stat
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.documents import compiled
from tests.e2e import peers, shop
from tests.e2e.load import Load
from tests.e2e.peers import context, gateway, hand_made_east, hand_made_west_of_placeholders, issuer_of, stranger
from tests.e2e.running import Cellway, ask_envoy
from tests.e2e.shop import EAST, NORTH, SOUTH, WEST
from tests.e2e.test_cells import ORDERS, ask, seen_by
from tests.e2e.tokens import bearer, jwks
from xds_server.automation.authority import Issuer, make_root
from xds_server.model.core import SecretBody

CATALOG, PAYMENTS = "catalog.orders.cell.internal", "api.payments.cell.internal"
SOAK = float(os.environ.get("CELLWAY_SOAK_SECONDS", "2"))
"""How long nobody serves the Envoys. The promise is a minute: `make soak`."""
ALLOW = (
    "allow: {cells: [storefront, admin], methods: {storefront: [GET, POST], admin: [GET, DELETE]}, operators: [ann]}"
)


def chain_of_calls() -> str:
    """The orders cell, whose component can be reached from north, and from storefront with some methods only."""
    return shop.ORDERS.replace("allow: {cells: [storefront]}", ALLOW)


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    shop.write_shop(running, quota=False)
    running.write("cells/orders.yaml", chain_of_calls())
    logging = shop.ORGANIZATION.replace("defaultClass", "accessLog: {}\n  defaultClass", 1)
    running.write("organization.yaml", logging.replace("KEYSET", jwks()))
    shop.start_servers(running)
    running.start()
    return running


@pytest.fixture(scope="module")
def authority(cells: Cellway) -> Issuer:
    return issuer_of(cells)


@pytest.fixture
def west(cells: Cellway) -> tuple[str, int]:
    return shop.door(cells, "orders", WEST)


def counted(cells: Cellway, cell: str, name: str) -> int:
    """What a west gateway has counted of connections or requests, without those to its admin port."""
    proxy = next(one for one in cells.api("proxies")["items"] if one["gateway"] == f"acme/dev/{cell}/west")
    text = ask_envoy(proxy["admin"], f"/stats?filter=^http\\..*{name}$").text
    lines = [line for line in text.splitlines() if "admin" not in line]
    assert lines, text
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_an_undeclared_dependency_makes_no_connection_to_west(cells: Cellway) -> None:
    answer = ask(cells, "storefront", EAST, PAYMENTS)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "undeclared-dependency")
    assert counted(cells, "payments", "downstream_cx_total") == 0


def test_a_declared_call_arrives_with_the_callers_certificate_and_no_other_name(cells: Cellway) -> None:
    spoofed = {
        "x-cell-caller": gateway("admin"),
        "x-cell-component": "root",
        "x-user-sub": "root",
        "x-forwarded-client-cert": f"URI={gateway('admin')}",
    }
    seen = ask(cells, "storefront", EAST, ORDERS, **spoofed).json()["headers"]
    assert seen["x-cell-caller"] == gateway("storefront")
    assert not {"x-cell-component", "x-user-sub", "x-forwarded-client-cert"} & set(seen)


def test_west_itself_believes_no_header(
    cells: Cellway, west: tuple[str, int], authority: Issuer, tmp_path: Path
) -> None:
    tls = context(tmp_path, authority.trusted, authority, gateway("storefront"))
    spoofed = {
        "x-cell-caller": gateway("admin"),
        "x-user-sub": "root",
        "x-forwarded-client-cert": f"URI={gateway('admin')}",
    }
    seen = peers.ask(west, tls, ORDERS, **spoofed).json()["headers"]
    assert seen["x-cell-caller"] == gateway("storefront")
    assert not {"x-user-sub", "x-forwarded-client-cert"} & set(seen)


def test_a_genuine_certificate_of_a_cell_that_is_not_allowed_is_refused(
    west: tuple[str, int], authority: Issuer, tmp_path: Path, cells: Cellway
) -> None:
    before = seen_by(cells, "api")
    answer = peers.ask(
        west, context(tmp_path, authority.trusted, authority, gateway("payments")), ORDERS,
        **{"x-cell-caller": gateway("storefront")},
    )  # fmt: skip
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
    assert "x-cell-deny" not in answer.headers
    assert seen_by(cells, "api") == before


def test_a_hand_made_east_with_a_genuine_certificate_of_another_cell_is_refused(
    cells: Cellway, authority: Issuer
) -> None:
    bindings = shop.BINDINGS.replace("ADDR.0\n", "ADDR.64\n").replace("storefront", "intruder")
    text = "---".join([shop_text(), shop.STOREFRONT.replace("storefront", "intruder"), bindings])
    allowing = text.replace("cells: [storefront]", "cells: [intruder]")
    with hand_made_east(cells, allowing, "intruder", authority) as east:
        answer = east.ask(ORDERS)
        assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
        open_to_all = east.ask(CATALOG)
        assert open_to_all.json()["headers"]["x-cell-caller"] == gateway("intruder")


def shop_text() -> str:
    """The shop without a storefront, as one text."""
    organization = shop.ORGANIZATION.replace("KEYSET", jwks())
    return "---".join([organization, shop.ORDERS, shop.PAYMENTS])


@pytest.mark.parametrize("show", ["nothing", "a stranger's certificate"])
def test_without_a_certificate_of_the_stage_the_handshake_fails(
    cells: Cellway, west: tuple[str, int], authority: Issuer, tmp_path: Path, show: str
) -> None:
    before = seen_by(cells, "api")
    issuer = None if show == "nothing" else stranger()
    tls = context(tmp_path, authority.trusted, issuer, gateway("storefront"))
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        peers.ask(west, tls, ORDERS)
    assert seen_by(cells, "api") == before


def test_plain_text_to_west_is_closed_without_a_reply(west: tuple[str, int]) -> None:
    with socket.create_connection(west, timeout=30) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(4096) == b""


def test_certificates_of_another_stage_do_not_fit_on_either_side(cells: Cellway) -> None:
    bindings = shop.BINDINGS.replace("ADDR.0\n", "ADDR.64\n")
    text = "---".join([shop_text(), shop.STOREFRONT, bindings])
    prod = stranger()
    # This east trusts its own stage only, so it must not get as far as being refused.
    with hand_made_east(cells, text, "storefront", prod) as east:
        before = seen_by(cells, "api")
        answer = east.ask(ORDERS)
        assert answer.status_code == 503
        logged = east.logged()
        assert "UF" in logged.split()[0]
        assert "CERTIFICATE_VERIFY_FAILED" in logged
        assert seen_by(cells, "api") == before


def test_west_refuses_certificates_of_another_stage(cells: Cellway, authority: Issuer) -> None:
    bindings = shop.BINDINGS.replace("ADDR.0\n", "ADDR.64\n")
    text = "---".join([shop_text(), shop.STOREFRONT, bindings])
    prod = stranger()
    believing = Issuer(prod.certificate, authority.trusted, prod.between, prod.key)  # trusts dev, and is of prod
    with hand_made_east(cells, text, "storefront", believing) as east:
        before = seen_by(cells, "api")
        answer = east.ask(ORDERS)
        assert answer.status_code == 503
        logged = east.logged()
        assert "UF" in logged.split()[0]
        assert "TLSV1_ALERT_UNKNOWN_CA" in logged
        assert seen_by(cells, "api") == before


def test_east_sends_nothing_to_a_west_of_another_cell(cells: Cellway, authority: Issuer) -> None:
    bindings = shop.BINDINGS.replace("ADDR.0\n", "ADDR.64\n")
    # Orders is said to be where payments is.
    bindings = (
        bindings.replace("ADDR.16\n", "ADDR.80\n").replace("ADDR.32\n", "ADDR.16\n").replace("ADDR.80\n", "ADDR.32\n")
    )
    text = "---".join([shop_text(), shop.STOREFRONT, bindings])
    with hand_made_east(cells, text, "storefront", authority) as east:
        before = counted(cells, "payments", "downstream_rq_total")
        answer = east.ask(ORDERS)
        assert answer.status_code == 503
        logged = east.logged()
        assert "UF" in logged.split()[0]
        assert "CERTIFICATE_VERIFY_FAILED" in logged
        assert counted(cells, "payments", "downstream_rq_total") == before


def test_placeholders_open_nothing(cells: Cellway, tmp_path: Path) -> None:
    bindings = shop.BINDINGS.replace("ADDR.16\n", "ADDR.64\n")
    text = "---".join([shop_text(), shop.STOREFRONT, bindings])
    found = compiled(text.replace("ADDR", cells.block.prefix))
    held = {one.name: one for one in found.stages[0].objects if one.key.kind == "Secret"}["storefront-east-identity"]
    assert isinstance(held.spec, SecretBody)
    pair = held.spec.values()
    (tmp_path / "placeholder.pem").write_bytes(pair["tls.crt"] + pair["tls.key"])
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.load_cert_chain(tmp_path / "placeholder.pem")
    before = seen_by(cells, "api")
    with hand_made_west_of_placeholders(cells, text, "orders") as west, pytest.raises(httpx.TransportError):
        peers.ask(west, tls, ORDERS)
    assert seen_by(cells, "api") == before


@pytest.mark.parametrize(
    "name",
    [
        gateway("storefront2"),
        gateway("store"),
        gateway("storefront", "west"),
        gateway("storefront") + "/x",
        "spiffe://dev.acme.internal/cell/storefront",
        "spiffe://prod.acme.internal/cell/storefront/gw/east",
    ],
)
def test_names_are_compared_as_a_whole(west: tuple[str, int], authority: Issuer, tmp_path: Path, name: str) -> None:
    answer = peers.ask(west, context(tmp_path, authority.trusted, authority, name), ORDERS)
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")


@pytest.mark.parametrize("name", [gateway("anyone", "west"), "spiffe://dev.acme.internal/operator/ann", gateway("a/b")])
def test_without_allow_only_east_gateways_of_the_stage_are_let_in(
    west: tuple[str, int], authority: Issuer, tmp_path: Path, name: str
) -> None:
    assert peers.ask(west, context(tmp_path, authority.trusted, authority, name), CATALOG).status_code == 403
    anyone = context(tmp_path, authority.trusted, authority, gateway("anyone"))
    assert peers.ask(west, anyone, CATALOG).status_code == 200


def test_an_unknown_host_is_404_even_for_an_allowed_cell(
    west: tuple[str, int], authority: Issuer, tmp_path: Path
) -> None:
    tls = context(tmp_path, authority.trusted, authority, gateway("storefront"))
    assert peers.ask(west, tls, "api-next.orders.cell.internal").status_code == 404


def test_methods_are_by_cell(cells: Cellway, west: tuple[str, int], authority: Issuer, tmp_path: Path) -> None:
    admin, storefront, ann = (
        context(tmp_path, authority.trusted, authority, name)
        for name in (gateway("admin"), gateway("storefront"), "spiffe://dev.acme.internal/operator/ann")
    )
    assert peers.ask(west, storefront, ORDERS).status_code == 200
    refused = peers.ask(west, storefront, ORDERS, "DELETE")
    assert (refused.status_code, refused.text) == (403, "RBAC: access denied")
    assert peers.ask(west, admin, ORDERS, "DELETE").status_code == 200
    assert peers.ask(west, admin, ORDERS, "POST").status_code == 403
    assert peers.ask(west, ann, ORDERS, "DELETE").json()["headers"]["x-cell-caller"].endswith("/operator/ann")
    told = ask(cells, "storefront", EAST, ORDERS, method="DELETE")
    assert (told.status_code, told.headers["x-cell-deny"]) == (403, "method-not-allowed")


def passed_on(headers: dict[str, str]) -> dict[str, str]:
    """The headers that a component takes over into its own calls."""
    return {name: value for name, value in headers.items() if name != "host"}


def test_a_request_through_three_cells_keeps_its_token_and_changes_its_caller(cells: Cellway) -> None:
    token = bearer(sub="ann")
    first = ask(cells, "storefront", NORTH, "shop.example.com", "/api/x", **token).json()["headers"]
    assert first["authorization"] == token["Authorization"]
    second = ask(cells, "storefront", EAST, ORDERS, **passed_on(first)).json()["headers"]
    third = ask(cells, "orders", EAST, PAYMENTS, **passed_on(second)).json()["headers"]
    assert (second["x-cell-caller"], third["x-cell-caller"]) == (gateway("storefront"), gateway("orders"))
    assert third["authorization"] == token["Authorization"]
    assert first["x-request-id"] == second["x-request-id"] == third["x-request-id"]


def entries(cells: Cellway, cell: str, direction: str, **wanted: str) -> list[dict[str, Any]]:
    """What a gateway has logged of certain requests, once it is there: Envoy writes from time to time."""
    (proxy,) = [one for one in cells.api("proxies")["items"] if one["gateway"] == f"acme/dev/{cell}/{direction}"]
    (folder,) = [one.parent for one in Path(proxy["admin"]).parent.glob("*/admin-address")]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = (folder / "envoy.log").read_text().splitlines()
        objects = [json.loads(line) for line in lines if line.startswith("{")]
        if found := [one for one in objects if all(one[name] == value for name, value in wanted.items())]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{cell} {direction} logged no {wanted}: {lines}")


def test_all_gateways_log_in_one_form_what_they_decided(cells: Cellway) -> None:
    first = ask(cells, "storefront", NORTH, "shop.example.com", "/api/x", **bearer(sub="ann")).json()["headers"]
    second = ask(cells, "storefront", EAST, ORDERS, **passed_on(first)).json()["headers"]
    ask(cells, "orders", EAST, PAYMENTS, **passed_on(second))
    ask(cells, "orders", SOUTH, "nobody.example", **passed_on(second))
    way = (
        ("storefront", "north", None), ("storefront", "east", None), ("orders", "west", gateway("storefront")),
        ("orders", "east", None), ("payments", "west", gateway("orders")), ("orders", "south", None),
    )  # fmt: skip
    passed = []
    for cell, direction, caller in way:
        (entry,) = entries(cells, cell, direction, request_id=first["x-request-id"])
        assert (entry["stage"], entry["cell"], entry["direction"]) == ("dev", cell, direction)
        assert entry["caller"] == caller
        passed.append((set(entry), entry["decision"]))
    assert [decision for _, decision in passed] == ["allowed"] * 5 + ["external-not-allowed"]
    assert all(fields == passed[0][0] for fields, _ in passed), "one form"


def test_who_refused_what_is_logged(cells: Cellway, west: tuple[str, int], authority: Issuer, tmp_path: Path) -> None:
    ask(cells, "storefront", EAST, PAYMENTS, "/why")
    ask(cells, "storefront", NORTH, "elsewhere.example.com", "/why")
    tls, number = context(tmp_path, authority.trusted, authority, gateway("payments")), str(uuid.uuid4())
    peers.ask(west, tls, ORDERS, **{"x-request-id": number})
    found = {
        place: entries(cells, *place, path="/why")[0] for place in (("storefront", "east"), ("storefront", "north"))
    }
    assert [one["decision"] for one in found.values()] == ["undeclared-dependency", "not-found"]
    (refused,) = entries(cells, "orders", "west", request_id=number)
    assert (refused["decision"], refused["caller"]) == ("not-granted", gateway("payments"))


def test_the_state_folder_keeps_keys_from_others(cells: Cellway) -> None:
    folder = cells.state / "authorities"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert [one.name for one in files] == ["dev.acme.internal.crt", "dev.acme.internal.key"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_no_key_is_in_what_is_told(cells: Cellway) -> None:
    told = [httpx.get(f"{cells.admin}/api/v1/objects?derived=true", timeout=10).text, cells.log()]
    told += [httpx.get(f"{cells.admin}/metrics", timeout=10).text]
    told += [ask_envoy(proxy["admin"], "/config_dump").text for proxy in cells.api("proxies")["items"]]
    assert all("PRIVATE KEY" not in text for text in told)
    assert not any("UFJJVkFURSBLRVk" in text for text in told), "the same in base64"


def test_a_gateway_holds_its_own_certificate_and_no_other(cells: Cellway) -> None:
    for proxy in cells.api("proxies")["items"]:
        cell, direction = proxy["gateway"].split("/")[2:]
        dump = ask_envoy(proxy["admin"], "/config_dump").json()
        held = {
            one["name"]
            for part in dump["configs"]
            if part["@type"].endswith("SecretsConfigDump")
            for one in part.get("dynamic_active_secrets", ())
        }
        wanted = {f"{cell}/{cell}-{direction}-identity"} if direction in ("east", "west") else set()
        authorities = {f"{cell}/{cell}-west/clients/default"} if direction == "west" else set()
        assert held == wanted | authorities, proxy["gateway"]


def certificate_of(west: tuple[str, int], tls: ssl.SSLContext) -> bytes:
    """What west shows now."""
    with socket.create_connection(west, timeout=30) as plain, tls.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def test_certificates_are_renewed_under_load_without_a_failed_request(cellway: Cellway, tmp_path: Path) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.arguments = ("--certificate-lifetime", "20s")
    cellway.start()
    issuer, west = issuer_of(cellway), shop.door(cellway, "orders", WEST)
    tls = context(tmp_path, issuer.trusted, issuer, gateway("storefront"))
    address, port = shop.door(cellway, "storefront", EAST)
    shown = {certificate_of(west, tls)}
    with Load(address, port, CATALOG, rate=100) as load:
        deadline = time.monotonic() + 60
        while len(shown) < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
            shown.add(certificate_of(west, tls))
    assert len(shown) >= 3, "west has shown three certificates"
    assert load.failures() == {}
    assert load.total > 100


def test_a_restarted_server_keeps_its_authority_and_no_request_fails(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.start()
    before = issuer_of(cellway).trusted
    address, port = shop.door(cellway, "storefront", EAST)
    fresh = Load(*shop.door(cellway, "storefront", NORTH), "shop.example.com", rate=20, kept=False)
    with Load(address, port, CATALOG, rate=100) as load, fresh:
        cellway.kill()
        for one in (load, fresh):
            one.lasts(SOAK)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{cellway.admin}/livez", timeout=10)
        cellway.start()
        for one in (load, fresh):
            one.lasts(1)
    assert issuer_of(cellway).trusted == before
    assert (load.failures(), fresh.failures()) == ({}, {})


def updates(cells: Cellway, cell: str) -> dict[str, list[str]]:
    """What the Envoys of a cell have counted of answers from their server."""
    proxies = [one for one in cells.api("proxies")["items"] if one["gateway"].startswith(f"acme/dev/{cell}/")]
    names = r"\.(update_success|update_attempt|update_rejected|init_fetch_timeout|version)$"
    found = {one["gateway"]: ask_envoy(one["admin"], f"/stats?filter={names}").text for one in proxies}
    return {gateway_name: sorted(text.splitlines()) for gateway_name, text in found.items()}


def test_an_edit_of_one_cell_sends_nothing_to_the_envoys_of_another(cells: Cellway) -> None:
    payments, storefront = updates(cells, "payments"), updates(cells, "storefront")
    assert all("version" in text for text in map(str, payments.values()))
    cells.write("cells/storefront.yaml", shop.STOREFRONT.replace("basePath: /api", "basePath: /apis"))
    cells.wait()
    assert ask(cells, "storefront", NORTH, "shop.example.com", "/apis/x").status_code == 200
    assert updates(cells, "payments") == payments
    assert updates(cells, "storefront") != storefront
    cells.write("cells/storefront.yaml", shop.STOREFRONT)
    cells.wait()


def test_an_authority_that_is_expired_is_told_and_cells_stay_apart(cellway: Cellway, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    certificate, key = make_root(peers.DOMAIN, time.time() - 20 * 365 * 24 * peers.HOUR)
    (folder / f"{peers.DOMAIN}.crt").write_bytes(certificate)
    (folder / f"{peers.DOMAIN}.key").write_bytes(key)
    cellway.arguments = ("--cell-authorities", str(folder))
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.start()
    told = [one["message"] for one in cellway.api("diagnostics")["items"] if one["code"] == "C111"]
    assert len(told) == 1
    assert "expired on" in told[0]
    assert ask(cellway, "storefront", EAST, ORDERS).status_code == 500
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(shop.door(cellway, "orders", WEST), timeout=2)
    assert ask(cellway, "storefront", NORTH, "shop.example.com").status_code == 200

    certificate, key = make_root(peers.DOMAIN, time.time())
    (folder / f"{peers.DOMAIN}.key").write_bytes(key)
    (folder / f"{peers.DOMAIN}.crt").write_bytes(certificate)
    cellway.write("touched.yaml", shop.CANARY)  # any change makes the server look again; it does so by itself, too
    cellway.wait()
    assert ask(cellway, "storefront", EAST, ORDERS).status_code == 200
    assert sorted(one.name for one in folder.iterdir()) == [f"{peers.DOMAIN}.crt", f"{peers.DOMAIN}.key"]
