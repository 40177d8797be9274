"""Four directions of three cells: what is declared works, what is not is refused and says why."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlencode

import httpx
import pytest

from tests import names
from tests.e2e import shop
from tests.e2e.explained import outcome
from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy
from tests.e2e.shop import EAST, NORTH, SOUTH, WEST, url
from tests.e2e.tokens import bearer

DNS = 15053
ORDERS = "api.orders.cell.internal"


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    shop.write_shop(running, quota=False)
    shop.start_servers(running)
    running.start()
    return running


def ask(
    cells: Cellway, cell: str, direction: int, host: str, path: str = "/", method: str = "GET", **headers: str
) -> httpx.Response:
    address = url(cells, cell, direction, path)
    return httpx.request(method, address, headers={"Host": host, **headers}, timeout=10)


def seen_by(cells: Cellway, name: str) -> int:
    return len(next(server for server in cells.upstreams if server.name == name).seen)


def test_an_undeclared_dependency_is_refused_and_nothing_is_sent(cells: Cellway) -> None:
    before = seen_by(cells, "payments-api")
    answer = ask(cells, "storefront", EAST, "api.payments.cell.internal")
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "undeclared-dependency")
    assert seen_by(cells, "payments-api") == before


@pytest.mark.parametrize(
    "host", [ORDERS, "http.api.orders.cell.internal", "API.orders.cell.internal", f"{ORDERS}:15001", f"{ORDERS}."]
)
def test_a_declared_dependency_works_by_every_form_of_its_name(cells: Cellway, host: str) -> None:
    answer = ask(cells, "storefront", EAST, host, "/v1/x")
    assert answer.status_code == 200, answer.text
    assert answer.json()["server"] == "api"
    assert answer.json()["headers"]["x-cell-caller"] == "spiffe://dev.acme.internal/cell/storefront/gw/east"


def test_a_spoofed_caller_does_not_arrive(cells: Cellway) -> None:
    spoofed = {"x-cell-caller": "spiffe://dev.acme.internal/cell/admin/gw/east"}
    answer = ask(cells, "storefront", EAST, ORDERS, **spoofed)
    assert answer.json()["headers"]["x-cell-caller"] == "spiffe://dev.acme.internal/cell/storefront/gw/east"


def test_an_endpoint_of_the_cell_alone_is_on_no_door_and_in_no_configuration(cells: Cellway) -> None:
    assert ask(cells, "orders", NORTH, "api-next.orders.cell.internal").status_code == 404
    for proxy in cells.api("proxies")["items"]:
        dump = ask_envoy(proxy["admin"], "/config_dump").text
        assert "api-next" not in dump, proxy["gateway"]


@pytest.mark.parametrize(
    ("cell", "direction"), [("payments", NORTH), ("payments", EAST), ("storefront", WEST), ("storefront", SOUTH)]
)
def test_a_gateway_that_nobody_needs_does_not_listen(cells: Cellway, cell: str, direction: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(shop.door(cells, cell, direction), timeout=2)


def test_north_routes_by_host_and_longest_path(cells: Cellway) -> None:
    assert ask(cells, "storefront", NORTH, "shop.example.com").json()["server"] == "web"
    assert ask(cells, "storefront", NORTH, "shop.example.com", "/api/cart").json()["server"] == "bff"
    assert ask(cells, "storefront", NORTH, "shop.example.com", "/apix").json()["server"] == "web"


@pytest.mark.parametrize("host", ["nowhere.example", "api.shop.example.com", ORDERS])
def test_north_answers_foreign_hosts_with_an_empty_404(cells: Cellway, host: str) -> None:
    answer = ask(cells, "storefront", NORTH, host)
    assert (answer.status_code, answer.content) == (404, b"")
    assert "x-cell-deny" not in answer.headers


def test_north_asks_for_a_token_where_the_policy_says_so(cells: Cellway) -> None:
    host = "api.shop.example.com"
    answer = ask(cells, "orders", NORTH, host, "/v1/x")
    assert (answer.status_code, answer.text) == (401, "Jwt is missing")
    answer = ask(cells, "orders", NORTH, host, "/v1/x", **bearer(lifetime=-600))
    assert (answer.status_code, answer.text) == (401, "Jwt is expired")
    answer = ask(cells, "orders", NORTH, host, "/v1/x", **bearer(audience="other"))
    assert (answer.status_code, answer.text) == (403, "Audiences in Jwt are not allowed")
    answer = ask(cells, "orders", NORTH, host, "/v1/x", **bearer(sub="ann"), **{"x-user-sub": "root"})
    assert answer.json()["headers"]["x-user-sub"] == "ann"
    assert ask(cells, "storefront", EAST, ORDERS, "/v1/x").status_code == 200, "west asks for no token"


def test_north_decides_on_the_normalised_path(cells: Cellway) -> None:
    with socket.create_connection(shop.door(cells, "orders", NORTH), timeout=30) as connection:
        connection.sendall(b"GET /public/../v1/x HTTP/1.1\r\nHost: api.shop.example.com\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")
    with socket.create_connection(shop.door(cells, "orders", NORTH), timeout=30) as connection:
        connection.sendall(b"GET /public%2f..%2fv1 HTTP/1.1\r\nHost: api.shop.example.com\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


def test_identity_headers_from_outside_do_not_arrive(cells: Cellway) -> None:
    spoofed = {"x-cell-caller": "x", "x-user-sub": "x", "x-forwarded-client-cert": "x", "x-envoy-max-retries": "9"}
    answer = ask(cells, "storefront", NORTH, "shop.example.com", **spoofed)
    assert not set(spoofed) & set(answer.json()["headers"])


def test_a_slow_provider_times_out_and_the_other_dependency_stays_fast(cells: Cellway) -> None:
    slow = next(server for server in cells.upstreams if server.name == "api")
    slow.delay = 5.0
    try:
        address, port = shop.door(cells, "storefront", EAST)
        with Load(address, port, ORDERS, rate=8, connections=4) as load:
            time.sleep(0.5)
            took = []
            for _ in range(50):
                before = time.monotonic()
                assert ask(cells, "storefront", EAST, "catalog.orders.cell.internal").status_code == 200
                took.append(time.monotonic() - before)
            time.sleep(4)
        assert set(load.outcomes) == {"504"}, load.outcomes
        assert sorted(took)[len(took) // 2] < 1.0, "the other dependency is far below the 2 s of the slow one"
    finally:
        slow.delay = 0.0


def test_a_failed_post_is_not_sent_again(cells: Cellway) -> None:
    server = next(server for server in cells.upstreams if server.name == "catalog")
    server.status = 500
    try:
        before = len(server.seen)
        answer = ask(cells, "storefront", EAST, "catalog.orders.cell.internal", method="POST")
        assert (answer.status_code, len(server.seen) - before) == (500, 1)
    finally:
        server.status = 200


def test_south_reaches_declared_hosts_by_every_form(cells: Cellway) -> None:
    assert ask(cells, "orders", SOUTH, "api.mail.example").json()["host"] == "api.mail.example"
    answer = ask(cells, "orders", SOUTH, "mailer.external.cell.internal").json()
    assert (answer["server"], answer["host"]) == ("mail", "api.mail.example")
    proxy = url(cells, "orders", SOUTH).rstrip("/")
    with httpx.Client(proxy=proxy) as client:
        assert client.get("http://api.mail.example/x", timeout=30).json()["server"] == "mail"


@pytest.mark.parametrize("host", ["undeclared.example", "127.0.0.1", "10.1.2.3", "api.cards.example"])
def test_south_refuses_what_is_not_declared(cells: Cellway, host: str) -> None:
    before = seen_by(cells, "cards") + seen_by(cells, "mail")
    answer = ask(cells, "orders", SOUTH, host)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "external-not-allowed")
    assert seen_by(cells, "cards") + seen_by(cells, "mail") == before


@pytest.mark.parametrize("target", ["other.example:443", "api.mail.example:443", "127.0.0.1:22"])
def test_south_refuses_to_tunnel(cells: Cellway, target: str) -> None:
    with socket.create_connection(shop.door(cells, "orders", SOUTH), timeout=30) as connection:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 403")


def test_south_holds_to_methods_and_paths(cells: Cellway) -> None:
    host = "api.cards.example"
    assert ask(cells, "payments", SOUTH, host, "/v1/charges", "POST").status_code == 200
    assert ask(cells, "payments", SOUTH, host, "/v1/charges/7").status_code == 200
    answer = ask(cells, "payments", SOUTH, host, "/v1/charges", "DELETE")
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "method-not-allowed")
    assert ask(cells, "payments", SOUTH, host, "/v1/refunds").status_code == 403
    with socket.create_connection(shop.door(cells, "payments", SOUTH), timeout=30) as connection:
        connection.sendall(f"GET /v1/charges/../refunds HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 403")


def test_east_answers_dns_for_the_names_of_dependencies(cells: Cellway) -> None:
    east = cells.block.address(shop.BASES["storefront"] + EAST)
    for name in (ORDERS, f"http.{ORDERS}", "API.Orders.cell.internal", "catalog.orders.cell.internal"):
        assert names.ask((east, DNS), name) == names.Answer(names.NO_ERROR, (east,)), name
        address = names.ask((east, DNS), name).addresses[0]
        answer = httpx.get(f"http://{address}:{shop.PORTS[EAST]}/", headers={"Host": name}, timeout=10)
        assert answer.status_code == 200
    for name in ("api", "api.payments.cell.internal", "orders.cell.internal", "shop.example.com", "localhost"):
        assert names.ask((east, DNS), name) == names.Answer(names.NO_SUCH_NAME), name
    assert names.ask((east, DNS), ORDERS, names.AAAA).addresses == ()


def test_visibility_and_allow_are_live(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.start()
    assert ask(cellway, "storefront", EAST, ORDERS).status_code == 200

    cellway.write(
        "cells/orders.yaml", shop.ORDERS.replace("visibility: [organization, public]", "visibility: [public]")
    )
    cellway.wait()
    answer = ask(cellway, "storefront", EAST, ORDERS)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "not-visible")
    conditions = cellway.object("Cell", "storefront")["status"]["conditions"]
    assert any(one["reason"] == "NotVisible" and one["status"] == "False" for one in conditions), conditions

    cellway.write(
        "cells/orders.yaml", shop.ORDERS.replace("allow: {cells: [storefront]}", "allow: {cells: [payments]}")
    )
    cellway.wait()
    answer = ask(cellway, "storefront", EAST, ORDERS)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "not-allowed")


def test_a_deleted_dependency_is_refused_and_nothing_else_is_lost(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.start()
    address, port = shop.door(cellway, "storefront", EAST)
    slow = next(server for server in cellway.upstreams if server.name == "api")
    slow.delay = 0.2
    with (
        Load(address, port, ORDERS, rate=50) as deleted,
        Load(address, port, "catalog.orders.cell.internal", rate=50) as kept,
    ):
        time.sleep(1)
        line = "  - {name: orders, cell: orders, component: api, endpoint: http}\n"
        cellway.write("cells/storefront.yaml", shop.STOREFRONT.replace(line, ""))
        cellway.wait()
        time.sleep(1)
    assert set(deleted.outcomes) == {"200", "403"}, deleted.outcomes
    assert deleted.timeline[-1][1] == "403"
    assert kept.failures() == {}


def test_a_quota_of_one_dependency_leaves_the_others_alone(cellway: Cellway) -> None:
    shop.write_shop(cellway)
    shop.start_servers(cellway)
    cellway.start()
    started = time.monotonic()
    with httpx.Client() as client:
        passed = 0
        while (last := client.get(url(cellway, "storefront", EAST), headers={"Host": ORDERS})).status_code == 200:
            passed += 1
    refilled = time.monotonic() - started  # the bucket of 60 gets one more each second
    assert 60 <= passed <= 61 + refilled
    assert last.status_code == 429
    other = ask(cellway, "storefront", EAST, f"http.{ORDERS}")
    assert other.status_code == 429, "another name of the same dependency has no quota of its own"
    assert last.text == "local_rate_limited"
    assert (last.headers["x-ratelimit-limit"].split(",")[0], last.headers["x-ratelimit-remaining"]) == ("60", "0")
    assert "x-ratelimit-reset" in last.headers
    assert ask(cellway, "storefront", EAST, "catalog.orders.cell.internal").status_code == 200


def test_a_canary_on_west_gets_its_share(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    cellway.write("canary.yaml", shop.CANARY)
    shop.start_servers(cellway)
    cellway.start()
    address, port = shop.door(cellway, "storefront", EAST)
    with httpx.Client() as client:
        at = url(cellway, "storefront", EAST, "/v1")
        seen = Counter(client.get(at, headers={"Host": ORDERS}).json()["server"] for _ in range(4000))
    assert abs(seen["api-next"] / 4000 - 0.10) <= 0.02, seen
    with Load(address, port, ORDERS, rate=200) as load:
        time.sleep(0.5)
        cellway.write(
            "canary.yaml", shop.CANARY.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50")
        )
        cellway.wait()
        time.sleep(0.5)
    assert load.failures() == {}


def test_gateways_do_what_is_explained(cells: Cellway) -> None:
    """Random requests from the internet and from components, through north, east and west."""
    chance = random.Random(7)
    addresses = {server.name: f"{server.address}:{server.port}" for server in cells.upstreams}
    outside = ("shop.example.com", "api.shop.example.com", "other.example")
    inside = (ORDERS, "http.api.orders.cell.internal", "catalog.orders.cell.internal", "api.payments.cell.internal")
    reached = set()
    for _ in range(80):
        cell = chance.choice(("storefront", "orders"))
        direction, hosts = chance.choice(((NORTH, outside), (EAST, inside), (EAST, inside)))
        host, method = chance.choice(hosts), chance.choice(("GET", "POST", "DELETE", "OPTIONS"))
        path = chance.choice(("/", "/v1", "/v1/../x", "/api", "/apis", "/v1/a%2fb", "//v1/x?y=1"))
        headers = chance.choice(({}, {}, bearer(), {"Origin": "https://a.example", "x-cell-caller": "x"}))
        query = [("method", method), ("url", f"http://{host}{path}"), ("stage", "dev")]
        query += [("gateway", f"acme/dev/{cell}/{'north' if direction == NORTH else 'east'}")]
        query += [("header", f"{name}:{value}") for name, value in headers.items()]
        (explained,) = cells.api(f"explain?{urlencode(query)}")["items"]
        wanted = outcome(explained)
        with httpx.Client(timeout=10) as client:
            request = client.build_request(method, url(cells, cell, direction), headers={"Host": host, **headers})
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = client.send(request)
        what = (
            f"{method} {host}{path} {list(headers)} at {cell}/{direction}: {answer.status_code} {answer.text}\n{wanted}"
        )
        server = answer.json()["server"] if answer.status_code == 200 and answer.text.startswith("{") else ""
        if server:
            assert addresses[server] in wanted.endpoints, what
        else:
            assert answer.status_code in wanted.statuses, what
        reached.add(server or answer.status_code)
    assert {"web", "bff", "api", "catalog", "payments-api", 400, 401, 403, 404} <= reached
