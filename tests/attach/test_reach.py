"""Backends that lead to the server itself, in every spelling, and to sockets that nobody permitted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents import compiled
from xds_server.attach.reach import Reach, own_place
from xds_server.compile import Compiled, Options
from xds_server.graph import Endpoint, Forward
from xds_server.listening import Opened, XdsPorts, XdsSettings, open_socket, open_xds, opened, own_addresses, reaching
from xds_server.serve.grpc import XdsServer
from xds_server.supervise.bootstrap import Address

PORT = 19001
MACHINE = ("10.1.2.3", "fd00::1")
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: SPEC
"""


def reach(host: str, *, here: bool = True) -> Reach:
    return Reach((own_place("the admin API", host, PORT, MACHINE),), frozenset(("box",)), here)


def asked(spec: str, allowed: Reach) -> Compiled:
    return compiled(ROUTE.replace("SPEC", spec), Options(reach=allowed))


def is_refused(address: str, allowed: Reach, port: int = PORT) -> bool:
    return bool(allowed.refusal([Endpoint("192.0.2.1", PORT), Endpoint(address, port)]))


LOOPBACK = ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0"]
NAMES = ["localhost", "localhost.", "a.localhost", "box", "Box."]


@pytest.mark.parametrize("address", [*LOOPBACK, *NAMES])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
def test_every_spelling_of_the_server_is_refused(host: str, address: str) -> None:
    assert is_refused(address, reach(host, here=False))
    assert not is_refused(address, reach(host), PORT + 1)


def test_what_is_refused_has_a_place_and_closes_its_route() -> None:
    found = asked("{endpoints: [{ip: {address: 127.0.0.1, port: 19001}}]}", reach("127.0.0.1"))
    (gateway,) = found.gateways
    (route,) = [
        one for port in gateway.ports for chain in port.http_chains for host in chain.hosts for one in host.routes
    ]
    assert isinstance(route.action, Forward)
    assert [one.backend for one in route.action.destinations] == [None]
    (problem,) = found.diagnostics
    assert (problem.code, problem.span and problem.span.line) == ("A112", 12)
    assert "127.0.0.1:19001 leads to the admin API, where no backend may lead; use another port" in problem.message


@pytest.mark.parametrize("address", ["127.9.9.9", "10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_a_server_on_all_addresses_is_at_each_of_its_own(address: str) -> None:
    assert is_refused(address, reach("0.0.0.0"))
    assert not is_refused(address, reach("127.0.0.1"))


def test_an_address_of_its_own_is_that_address_alone() -> None:
    assert is_refused("127.20.1.250", reach("127.20.1.250"))
    assert not any(is_refused(one, reach("127.20.1.250")) for one in (*LOOPBACK, "127.20.1.251", "10.1.2.4"))


def test_a_name_may_lead_anywhere_so_where_envoys_are_it_has_no_port_of_the_server() -> None:
    assert is_refused("far.example", reach("127.0.0.1"))
    assert not is_refused("far.example", reach("127.0.0.1", here=False))


def test_a_server_with_a_name_is_where_its_sockets_are() -> None:
    asked, ports = Address("127.2", 0), XdsPorts(Address("control.lan", 18000), Address("control.lan", 18000))
    with open_socket(asked, "the admin API") as socket:
        admin = opened(asked, socket)
        found = reaching(Options(), admin, replace(ports, at=(Address("10.1.2.3", 18000),)), None).reach
    assert admin.at == (Address("127.0.0.2", admin.said.port),)
    assert is_refused("127.0.0.2", found, admin.said.port)
    assert not is_refused("127.0.0.1", found, admin.said.port)
    assert all(is_refused(one, found, 18000) for one in ("10.1.2.3", "::ffff:10.1.2.3", "Control.lan."))
    assert not is_refused("far.example", found, 18000)
    assert all(is_refused(one, reach("control.lan", here=False)) for one in (*MACHINE, *LOOPBACK, "127.0.0.2"))


@pytest.mark.parametrize(
    ("hosts", "here"), [(["127.0.0.1"], True), (["127.0.0.1", "10.1.2.3"], False), (["::"], False)]
)
def test_where_xds_is_on_loopback_envoys_are_here(hosts: list[str], here: bool) -> None:
    admin, at = Address("127.0.0.1", PORT), tuple(Address(host, 18000) for host in hosts)
    found = reaching(Options(), Opened(admin, (admin,)), XdsPorts(at[0], at[0], at=at), None).reach
    assert is_refused("far.example", found) is here
    assert not is_refused("far.example", found, PORT + 1)


def test_a_name_of_the_xds_port_is_looked_up_once() -> None:
    async def ports(host: str) -> XdsPorts:
        server = XdsServer(lambda: 0.0)
        found = open_xds(server, XdsSettings(Address(host, 0), insecure=True), None, lambda: 0.0, envoys=False)
        await server.start()
        for one in found.at:
            with pytest.raises(OSError, match="cannot listen"):
                open_socket(one, "another")
        await server.stop(0)
        return found

    found = asyncio.run(ports("127.2"))
    assert (found.public.host, found.at) == ("127.2", (Address("127.0.0.2", found.public.port),))
    found = asyncio.run(ports("localhost"))
    assert Address("127.0.0.1", found.public.port) in found.at
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:0 for xDS: "):
        asyncio.run(ports("nowhere.invalid"))


def test_services_lead_there_no_more_than_backends() -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: up}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: up-1, labels: {kubernetes.io/service-name: up}}
addressType: IPv4
ports: [{port: 19001}]
endpoints: [{addresses: [127.0.0.1]}]
"""
    text = ROUTE.rpartition("---")[0].replace(
        "group: gateway.envoyproxy.io, kind: Backend, name: up", "name: up, port: 80"
    )
    found = compiled(f"{text}---{service}", Options(reach=reach("127.0.0.1")))
    assert [one.code for one in found.diagnostics] == ["A112"]
    assert "Service default/up: 127.0.0.1:19001 leads to the admin API" in found.diagnostics[0].message


def test_hosts_that_clients_choose_lead_there_no_more() -> None:
    for ranges, refused in (("[10.0.0.0/8]", False), ("[127.0.0.0/8]", True), ("['::1/128']", True)):
        spec = f"{{type: DynamicResolver, resolver: {{allowedCIDRs: {ranges}}}}}"
        found = asked(spec, reach("127.0.0.1")).diagnostics
        assert [one.code for one in found] == (["A112"] if refused else [])


WIDE = [
    "127.0.0.2/32",
    "127.64.0.0/10",
    "126.0.0.0/7",
    "::1/128",
    "::/0",
    "::ffff:7f00:2/128",
    "::ffff:0:0/96",
    "10.1.2.0/24",
]


@pytest.mark.parametrize("allowed", [*WIDE, "::ffff:10.1.2.3/128", "fd00::/8"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_hosts_that_clients_choose_do_not_lead_to_a_server_on_all_addresses(host: str, allowed: str) -> None:
    assert reach(host).refusal_of_lookups(["192.0.2.0/24", allowed])
    assert not reach(host).refusal_of_lookups(["192.0.2.0/24", "10.1.3.0/24", "::ffff:a01:300/120", "2001:db8::/32"])


@pytest.mark.parametrize(("allowed", "refused"), [("::ffff:127.0.0.0/104", True), ("127.0.0.2/32", False)])
def test_hosts_that_clients_choose_do_not_lead_to_one_address_in_another_spelling(allowed: str, refused: bool) -> None:
    spec = f"{{type: DynamicResolver, resolver: {{allowedCIDRs: ['{allowed}']}}}}"
    assert [one.code for one in asked(spec, reach("127.0.0.1")).diagnostics] == (["A112"] if refused else [])


@pytest.mark.parametrize(
    ("path", "allowed", "words"),
    [
        ("/run/x", Reach(), "--socket-folder (permitted: none)"),
        ("/run/shop/web.sock", Reach(socket_folders=("/run/sho", "/run/shop/web.sock")), "(permitted: /run/sho, /run"),
        ("/run/shop/web.sock", Reach(socket_folders=("/srv", "/run/shop")), ""),
        ("/run/shop/deep/web.sock", Reach(socket_folders=("/run",)), ""),
        (
            "/run/state/gateways/x/admin.sock",
            Reach(socket_folders=("/run",), closed_folders=("/run/state",)),
            "own files",
        ),
    ],
)
def test_unix_sockets_are_where_the_operator_permits_them(path: str, allowed: Reach, words: str) -> None:
    found = asked(f"{{endpoints: [{{unix: {{path: {path}}}}}]}}", allowed).diagnostics
    assert [(one.code, words in one.message) for one in found] == ([("A112", True)] if words else [])


def test_a_server_knows_where_it_is(tmp_path: Path) -> None:
    public, local, admin = Address("0.0.0.0", 18000), Address("127.0.0.1", 18001), Address("127.0.0.1", PORT)
    ports = XdsPorts(public, local, at=(public, local))
    found = reaching(Options(one_machine=True), Opened(admin, (admin,)), ports, tmp_path).reach
    assert [(one.port, one.everywhere) for one in found.own] == [(PORT, False), (18000, True), (18001, False)]
    assert (found.names_lead_here, str(tmp_path) in found.closed_folders) == (True, True)
    assert "127.0.0.1" in own_addresses()
