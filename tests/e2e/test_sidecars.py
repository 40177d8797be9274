"""Sidecars of components: who reaches an application, who may call what, and who is told to whom.

Two cells: in `front` the components `web` and `bff`, in `back` the component `api`. All three have sidecars.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from tests import names
from tests.e2e import peers
from tests.e2e.peers import DOMAIN, context, gateway, issuer_of, stranger
from tests.e2e.running import Cellway, ask_envoy
from xds_server.automation.authority import Issuer

CELLS = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec: {stages: [{name: dev, trustDomain: dev.acme.internal}]}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: mailer}
spec: {hosts: [api.mail.example], ports: [{port: 80, protocol: HTTP}]}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: front}
spec:
  components:
  - name: web
    endpoints:
    - {name: http, port: 3000, visibility: [public]}
    - {name: admin, port: 3001, from: [bff]}
  - name: bff
    endpoints: [{name: http, port: 3000}]
  dependencies:
  - {name: back, cell: back, component: api, from: [bff]}
  - {name: open, cell: back, component: open}
  - {name: mailer, external: mailer, from: [web]}
  gateways: {north: {hostnames: [shop.example.com]}}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: back}
spec:
  components:
  - name: api
    endpoints: [{name: http, port: 3000, visibility: [organization], allow: {cells: [front], operators: [ann]}}]
  - name: open
    endpoints: [{name: http, port: 3000, visibility: [organization]}]
  dependencies: [{name: mailer, external: mailer, from: [api]}]
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: front-dev}
spec:
  cell: front
  stage: dev
  address: ADDR.0
  endpoints: {web.http: [{address: ADDR.101}], web.admin: [{address: ADDR.101}], bff.http: [{address: ADDR.102}]}
  sidecars: {web: {application: ADDR.201}, bff: {application: ADDR.202}}
  overrides: {externals: {mailer: {endpoints: [{address: ADDR.131, port: 3000}]}}}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: back-dev}
spec:
  cell: back
  stage: dev
  address: ADDR.16
  endpoints: {api.http: [{address: ADDR.111}], open.http: [{address: ADDR.112}]}
  sidecars: {api: {application: ADDR.211}}
  overrides: {externals: {mailer: {endpoints: [{address: ADDR.131, port: 3000}]}}}
"""
APPLICATIONS = {"web": 201, "bff": 202, "api": 211, "open": 112, "mail": 131}
INBOUND = {"web": 101, "bff": 102, "api": 111}
EAST, SOUTH = 15001, 15002
OWN_EAST, BACK_WEST, BACK_SOUTH = 3, 18, 20
API, OPEN, MAIL = "api.back.cell.internal", "open.back.cell.internal", "api.mail.example"
REFUSED = (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)


def component(cell: str, name: str) -> str:
    return f"spiffe://{DOMAIN}/cell/{cell}/component/{name}"


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared("--certificate-lifetime", "20s")
    running.write("cells.yaml", CELLS)
    for name, number in APPLICATIONS.items():
        running.upstream(number, name=name)
    running.upstream(201, 3001, name="web-admin")
    running.start()
    return running


@pytest.fixture(scope="module")
def authority(cells: Cellway) -> Issuer:
    return issuer_of(cells)


def say(
    cells: Cellway, name: str, host: str, port: int = EAST, said: Mapping[str, str] = MappingProxyType({})
) -> httpx.Response:
    """What a component is answered that asks its own sidecar for a host; `said` are further headers."""
    url = f"http://{cells.block.address(APPLICATIONS[name])}:{port}/"
    return httpx.get(url, headers={"Host": host, **said}, timeout=10)


def as_peer(
    cells: Cellway, place: tuple[int, int], tls: ssl.SSLContext, host: str = "any", **said: str
) -> httpx.Response:
    """What somebody is answered who comes with a certificate to an address of the block and a port."""
    return peers.ask((cells.block.address(place[0]), place[1]), tls, host, **said)


@pytest.fixture
def showing(authority: Issuer, tmp_path: Path) -> Callable[[str], ssl.SSLContext]:
    """Makes clients with a genuine certificate for a name."""
    return lambda name: context(tmp_path, authority.trusted, authority, name)


def test_components_of_a_cell_reach_each_other_by_short_names(cells: Cellway) -> None:
    for host in ("bff", "http.bff", "bff.front.cell.internal", f"bff:{EAST}"):
        answer = say(cells, "web", host, said={"x-cell-caller": "root", "x-cell-peer": "root", "x-user-sub": "root"})
        assert answer.status_code == 200, answer.text
        seen = answer.json()
        assert seen["server"] == "bff"
        assert seen["headers"]["x-cell-peer"] == component("front", "web")
        assert not {"x-cell-caller", "x-cell-component", "x-user-sub"} & set(seen["headers"])


def test_a_short_name_of_another_cell_is_refused(cells: Cellway) -> None:
    for host in ("api", "bff.back.cell.internal"):
        answer = say(cells, "web", host)
        assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "undeclared-dependency")


def test_a_sidecar_answers_dns_for_the_names_that_its_component_may_ask_for(cells: Cellway) -> None:
    own = cells.block.address(APPLICATIONS["web"])
    asked = ("bff", "http.bff.front.cell.internal", API, MAIL, "worker", "api")
    found = [names.ask((own, 15053), name) for name in asked]
    assert found == [names.Answer(names.NO_ERROR, (own,))] * 4 + [names.Answer(names.NO_SUCH_NAME)] * 2


def test_an_endpoint_is_for_the_components_that_it_names(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext]
) -> None:
    assert say(cells, "bff", "admin.web").json()["server"] == "web-admin"
    answer = say(cells, "web", "admin.web")
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "component-not-allowed")
    answer = as_peer(cells, (101, 3001), showing(component("front", "web")))
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")


def test_only_the_component_that_a_dependency_names_may_use_it(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext]
) -> None:
    answer = say(cells, "bff", API)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert seen["server"] == "api"
    assert seen["headers"]["x-cell-caller"] == gateway("front")
    assert seen["headers"]["x-cell-component"] == component("front", "bff")
    assert seen["headers"]["x-cell-peer"] == gateway("back", "west")
    answer = say(cells, "web", API)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "component-not-allowed")
    answer = as_peer(cells, (OWN_EAST, 15011), showing(component("front", "web")), API)
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")


def test_a_dependency_without_names_is_for_all(cells: Cellway) -> None:
    for name in ("web", "bff"):
        seen = say(cells, name, OPEN, said={"x-cell-component": "root"}).json()
        assert (seen["server"], seen["headers"]["x-cell-component"]) == ("open", component("front", name))


def test_a_service_is_for_the_component_that_is_named(cells: Cellway) -> None:
    seen = say(cells, "web", MAIL, SOUTH).json()
    assert seen["server"] == "mail"
    assert not [name for name in seen["headers"] if name.startswith("x-cell-")]
    answer = say(cells, "bff", MAIL, SOUTH)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "component-not-allowed")
    answer = say(cells, "web", "other.example", SOUTH)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "external-not-allowed")


def test_beside_components_without_a_sidecar_who_does_not_say_who_he_is_gets_only_what_is_for_all(
    cells: Cellway,
) -> None:
    """In `back` one component has a sidecar and one has none; the mailer is for the one that has."""
    url = f"http://{cells.block.address(BACK_SOUTH)}:{SOUTH}/"
    answer = httpx.get(url, headers={"Host": MAIL}, timeout=10)
    assert (answer.status_code, answer.headers["x-cell-deny"]) == (403, "component-not-allowed")
    assert say(cells, "api", MAIL, SOUTH).json()["server"] == "mail"
    seen = say(cells, "api", "open").json()
    assert (seen["server"], [name for name in seen["headers"] if name.startswith("x-cell-")]) == ("open", [])


def test_no_tunnel_leaves_a_sidecar(cells: Cellway) -> None:
    for port, host in ((EAST, f"{API}:443"), (SOUTH, f"{MAIL}:80"), (SOUTH, "other.example:443")):
        with socket.create_connection((cells.block.address(201), port), timeout=30) as connection:
            connection.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_north_reaches_the_application_through_its_sidecar(cells: Cellway) -> None:
    url = f"http://{cells.block.address(1)}:8080/"
    answer = httpx.get(url, headers={"Host": "shop.example.com", "x-cell-peer": "root"}, timeout=10)
    seen = answer.json()["headers"]
    assert (seen["x-cell-peer"], seen["x-forwarded-proto"]) == (gateway("front", "north"), "http")


def test_where_all_have_sidecars_nobody_gets_out_without_one(cells: Cellway) -> None:
    for address, port in ((3, EAST), (4, SOUTH)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((cells.block.address(address), port), timeout=10)


@pytest.mark.parametrize("place", [("web", 3000), ("api", 3000)])
def test_an_application_is_reached_through_its_sidecar_alone(cells: Cellway, place: tuple[str, int]) -> None:
    where = cells.block.address(INBOUND[place[0]]), place[1]
    with socket.create_connection(where, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(4096) == b""


def strangers() -> list[tuple[int, int, str]]:
    """Listeners for which a certificate of the stage is not enough: its address, its port, and whose it is."""
    inbound = [(101, 3000, name) for name in (gateway("front"), gateway("back", "west"), component("back", "api"))]
    inbound += [(101, 3000, f"{component('front', 'bff')}/x"), (101, 3000, f"spiffe://{DOMAIN}/operator/ann")]
    return [*inbound, (3, 15011, component("back", "api")), (3, 15011, gateway("front", "west"))]


@pytest.mark.parametrize(("address", "port", "name"), strangers())
def test_certificates_of_others_end_in_the_handshake(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext], address: int, port: int, name: str
) -> None:
    with pytest.raises(REFUSED):
        as_peer(cells, (address, port), showing(name))


@pytest.mark.parametrize(("address", "port"), [(101, 3000), (3, 15011), (4, 15012)])
def test_a_strangers_certificate_ends_in_the_handshake(
    cells: Cellway, authority: Issuer, tmp_path: Path, address: int, port: int
) -> None:
    tls = context(tmp_path, authority.trusted, stranger(), component("front", "bff"))
    with pytest.raises(REFUSED):
        as_peer(cells, (address, port), tls)


def test_what_a_component_says_of_callers_is_not_believed(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext]
) -> None:
    said = {"x-cell-caller": "root", "x-cell-component": "root", "x-cell-peer": "root"}
    seen = as_peer(cells, (102, 3000), showing(component("front", "web")), **said).json()["headers"]
    assert seen["x-cell-peer"] == component("front", "web")
    assert not {"x-cell-caller", "x-cell-component"} & set(seen)


def test_west_believes_gateways_and_nobody_else_of_components(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext]
) -> None:
    said = {"x-cell-component": component("front", "bff")}
    place, ann = (BACK_WEST, 15443), f"spiffe://{DOMAIN}/operator/ann"
    others = {"x-cell-components": "root", "x-cell-com": "root", "x-cell-": "root", "x-cell-peer": "root"}
    seen = as_peer(cells, place, showing(gateway("front")), API, **said, **others).json()["headers"]
    assert seen["x-cell-component"] == said["x-cell-component"]
    assert not {"x-cell-components", "x-cell-com", "x-cell-"} & set(seen)
    assert as_peer(cells, place, showing(ann), API).status_code == 200
    assert as_peer(cells, place, showing(ann), API, **said).status_code == 403


def test_a_sidecar_has_its_own_key_and_no_other(cells: Cellway) -> None:
    found = {}
    for proxy in cells.api("proxies")["items"]:
        text = ask_envoy(proxy["admin"], "/config_dump?resource=dynamic_active_secrets").text
        found[proxy["gateway"]] = set(re.findall(r'"(\w+/[\w-]+-identity)"', text))
    assert found["acme/dev/front/component/bff"] == {"front/front-component-bff-identity"}
    assert found["acme/dev/back/component/api"] == {"back/back-component-api-identity"}
    assert found["acme/dev/front/north"] == {"front/front-north-identity"}


def test_status_and_api_tell_of_sidecars(cells: Cellway) -> None:
    front = next(one for one in cells.api("cells")["items"] if one["cell"] == "front")
    assert front["enforcement"] == "Component"
    told = [(one["direction"], one.get("component")) for one in front["gateways"]]
    assert told == [("north", None), ("east", None), ("south", None), ("sidecar", "bff"), ("sidecar", "web")]
    back = next(one for one in cells.api("cells")["items"] if one["cell"] == "back")
    assert back["enforcement"] == "Component"
    edges = {one["dependency"]: one for one in cells.api("topology")["edges"] if one["from"] == "front"}
    assert (edges["mailer"]["components"], edges["mailer"]["enforcement"]) == (["web"], "Component")
    assert (edges["open"]["components"], edges["open"]["enforcement"]) == (["web", "bff"], "Cell")


def certificate_of(cells: Cellway, tls: ssl.SSLContext) -> bytes:
    """What the sidecar of `web` shows now."""
    where = cells.block.address(INBOUND["web"]), 3000
    with socket.create_connection(where, timeout=30) as plain, tls.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def test_a_new_certificate_of_a_sidecar_costs_no_request(
    cells: Cellway, showing: Callable[[str], ssl.SSLContext]
) -> None:
    tls = showing(component("front", "bff"))
    first, statuses, deadline = certificate_of(cells, tls), set(), time.monotonic() + 60
    while certificate_of(cells, tls) == first and time.monotonic() < deadline:
        statuses |= {say(cells, "bff", "web").status_code, say(cells, "bff", API).status_code}
    assert certificate_of(cells, tls) != first
    assert statuses <= {200}
    assert say(cells, "bff", "web").status_code == 200
