"""Who may ask for what, with client certificates.

In: certificates of our authority and of others. Out: failures where a byte of another gateway is told, or where
somebody without a good certificate gets as far as a stream.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.protocol.authority import Authority, Issued
from tests.protocol.second_client import SERVICES, Client
from tests.protocol.snapshots import SHORT, snapshot
from xds_server.serve.grpc import XdsServer
from xds_server.serve.identity import Identities
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.snapshot.resource import CLUSTER

Secured = tuple[XdsServer, int, Authority]
NAMES = ("a", "b")
PLACES = (("default/", ""), ("acme/dev/", "/west"))
TYPES = {
    "clusters": "c", "endpoints": "e", "listeners": "l", "routes": "r", "secrets": "s", "scopes": "o",
    "hosts": "h", "extensions": "x", "runtime": "t", "": "c",
}  # fmt: skip


def world(name: str) -> tuple[str, ...]:
    return tuple(f"{short}:{name}-{'own' if short != 'h' else 'own/x'}@1" for short in SHORT)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    """A server that takes certificates of its authority only."""
    authority = Authority(tmp_path)
    own = authority.issue("server")
    identities = Identities({"pool.example": ("default/a",)}, {"test": "acme/dev"})
    server = XdsServer(time.monotonic, identities=identities)
    credentials = Credentials(TlsFiles(own.certificate, own.key, authority.certificate), pytest.fail)
    port = server.listen("127.0.0.1:0", credentials)
    await server.start()
    await server.publish({f"{where}{name}{to}": snapshot(*world(name)) for name in NAMES for where, to in PLACES})
    yield server, port, authority
    await server.stop(0)


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_every_certificate_gets_its_own_gateway_and_no_byte_of_another(
    secured: Secured, delta: bool, service: str
) -> None:
    _, port, authority = secured
    if service == "hosts" and not delta:
        return
    for owner, asked in itertools.product(NAMES, NAMES):
        issued = authority.issue(f"{owner}.example", f"spiffe://test/gateway/default/{owner}")
        tls = authority.client(issued)
        name = f"{asked}-own{'/x' if service == 'hosts' else ''}"
        async with Client(port, delta, cluster=f"default/{asked}", service=service, tls=tls) as client:
            client.ask(SHORT[TYPES[service]], name)
            if owner == asked:
                assert client.names(await client.next()) == [name]
            else:
                with pytest.raises(GRPCError) as refused:
                    await client.next()
                assert refused.value.status is Status.PERMISSION_DENIED
                assert "own" not in str(refused.value)
                assert "default" not in str(refused.value.message)


async def test_a_gateway_of_one_cell_gets_nothing_of_another(secured: Secured, delta: bool) -> None:
    _, port, authority = secured
    for owner, asked in itertools.product(NAMES, NAMES):
        tls = authority.client(authority.issue(f"{owner}-west", f"spiffe://test/cell/{owner}/gw/west"))
        async with Client(port, delta, cluster=f"acme/dev/{asked}/west", tls=tls) as client:
            client.ask(SHORT["s"], f"{asked}-own")
            if owner == asked:
                assert client.names(await client.next()) == [f"{asked}-own"]
            else:
                with pytest.raises(GRPCError) as refused:
                    await client.next()
                assert refused.value.status is Status.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("uri", "cluster"),
    [
        ("spiffe://other/gateway/default/a", "default/a"),
        ("spiffe://test/gateway/default/a/more", "default/a"),
        ("spiffe://test/gateway/default", "default/a"),
        ("spiffe://test/cell/default", "default/a"),
        ("https://test/gateway/default/a", "default/a"),
    ],
)
async def test_a_name_that_is_nearly_right_is_for_nothing(secured: Secured, uri: str, cluster: str) -> None:
    _, port, authority = secured
    async with Client(port, True, cluster=cluster, tls=authority.client(authority.issue("x", uri))) as client:
        client.ask(CLUSTER)
        with pytest.raises(GRPCError) as refused:
            await client.next()
        assert refused.value.status is Status.PERMISSION_DENIED


async def test_a_name_may_be_mapped_to_gateways(secured: Secured) -> None:
    _, port, authority = secured
    async with Client(port, True, cluster="default/a", tls=authority.client(authority.issue("pool.example"))) as client:
        client.ask(CLUSTER)
        assert client.names(await client.next()) == ["a-own"]


def test_spiffe_ids_of_cells() -> None:
    known = Identities({}, {"dev": "acme/dev", "plain": ""})
    assert known.gateways(["spiffe://dev/cell/shop/gw/north"]) == {"acme/dev/shop/north"}
    assert known.gateways(["spiffe://dev/cell/shop/component/web"]) == {"acme/dev/shop/component/web"}
    assert (
        known.gateways(["spiffe://dev/cell/shop/component/web/x", "spiffe://dev/cell/shop/component/"]) == frozenset()
    )
    assert known.gateways(["spiffe://dev/cell/shop"]) == {"acme/dev/shop"}
    assert known.gateways(["spiffe://plain/cell/shop/gw/north", "spiffe://prod/cell/shop/gw/north"]) == frozenset()
    assert known.gateways(["spiffe://plain/cell/shop/component/web", "spiffe://dev/cell/shop/gw"]) == frozenset()


async def test_without_a_good_certificate_there_is_no_stream(secured: Secured, tmp_path: Path) -> None:
    server, port, authority = secured
    foreign = Authority(tmp_path / "foreign")
    expired = authority.issue("old", "spiffe://test/gateway/default/a", life=-datetime.timedelta(hours=1))
    shown: list[Issued | None] = [None, foreign.issue("a", "spiffe://test/gateway/default/a"), expired]
    for issued in shown:
        async with Client(port, True, cluster="default/a", tls=authority.client(issued)) as client:
            client.ask(CLUSTER)
            with pytest.raises((GRPCError, StreamTerminatedError, OSError)):
                await client.next()
    assert not server.proxies()
    assert not server.counters.responses


async def test_a_new_certificate_and_a_new_authority_count_at_once(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    own = old.issue("server")
    files = TlsFiles(own.certificate, own.key, tmp_path / "authorities.pem")
    files.authorities.write_bytes(old.certificate.read_bytes())
    told: list[str] = []
    server = XdsServer(time.monotonic, identities=Identities({}, {"test": "acme/dev"}))
    port = server.listen("127.0.0.1:0", Credentials(files, told.append))
    await server.start()
    await server.publish({"default/a": snapshot(*world("a"))})

    async def works(authority: Authority, issued: Issued) -> None:
        async with Client(port, True, cluster="default/a", tls=authority.client(issued)) as client:
            client.ask(CLUSTER)
            assert client.names(await client.next()) == ["a-own"]

    of_old, of_new = (one.issue("c", "spiffe://test/gateway/default/a") for one in (old, new))
    await works(old, of_old)
    files.authorities.write_bytes(old.certificate.read_bytes() + new.certificate.read_bytes())
    fresh = new.issue("server")
    files.certificate.write_bytes(fresh.certificate.read_bytes())
    files.key.write_bytes(fresh.key.read_bytes())
    await works(new, of_new)
    files.key.write_bytes(own.key.read_bytes()[:40])
    await works(new, of_new)
    await works(new, of_new)
    assert len(told) == 1
    await server.stop(0)


def test_files_that_do_not_fit_are_refused_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.issue("one"), authority.issue("two")
    with pytest.raises(ValueError, match="does not belong"):
        Credentials(TlsFiles(one.certificate, two.key, authority.certificate), pytest.fail)
    with pytest.raises(ValueError, match="no PEM"):
        Credentials(TlsFiles(one.key, one.key, authority.certificate), pytest.fail)
    with pytest.raises(ValueError, match="No such file"):
        Credentials(TlsFiles(tmp_path / "none", one.key, authority.certificate), pytest.fail)
