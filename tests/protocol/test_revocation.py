"""Certificates that were stolen: who has one on a revocation list has no stream, and what it has ends.

In: lists of our authority and of others, whole and broken, at the start and while there are streams. Out: failures where
a revoked certificate is served, a good one is not, or a list that must not count does.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpclib.client import Channel, StreamStreamMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.protocol.authority import Authority, Issued
from tests.protocol.second_client import SERVICES, Client, Garbage, ads, request, until
from tests.protocol.snapshots import SHORT, resource, snapshot
from tests.protocol.test_loads import report, told
from xds_server.observe.metrics import Metrics, State
from xds_server.serve.counters import Listeners
from xds_server.serve.grpc import XdsServer
from xds_server.serve.identity import Identities
from xds_server.serve.revocation import Revocations, read_shown
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.snapshot.resource import CLUSTER, snapshot_of

URI = "spiffe://test/gateway/default/a"
DAY = datetime.timedelta(days=1)


@dataclass
class Guarded:
    """A server with a revocation list, of which nothing is on yet; an Envoy whose certificate is stolen, and another."""

    server: XdsServer
    port: int
    authority: Authority
    lists: Path
    stolen: Issued
    good: Issued
    told: list[str] = field(default_factory=list)

    def client(self, issued: Issued, *, delta: bool = True, service: str = "") -> Client:
        return Client(self.port, delta, cluster="default/a", service=service, tls=self.authority.client(issued))

    async def works(self, issued: Issued, name: str = "a-own") -> None:
        async with self.client(issued) as client:
            client.ask(CLUSTER)
            assert client.names(await client.next()) == [name]

    async def refused(self, issued: Issued, *, service: str = "", delta: bool = True) -> None:
        async with self.client(issued, delta=delta, service=service) as client:
            client.ask(CLUSTER)
            assert "revoked" in await refusal(client)

    def revoke(self, *issued: Issued) -> None:
        self.lists.write_bytes(self.authority.revoke(*issued))

    async def look(self) -> None:
        """What the server does once a second."""
        assert self.server._gate is not None
        await self.server._gate.look()

    async def revoke_now(self, *issued: Issued) -> None:
        self.revoke(*issued)
        await self.look()


async def refusal(client: Client) -> str:
    with pytest.raises(GRPCError) as ended:
        await client.next()
    assert ended.value.status is Status.PERMISSION_DENIED
    assert "own" not in str(ended.value)
    return str(ended.value.message)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    authority = Authority(tmp_path)
    own, stolen, good = authority.issue("server"), authority.issue("stolen", URI), authority.issue("good", URI)
    lists, warnings = tmp_path / "lists.pem", list[str]()
    lists.write_bytes(authority.revoke())
    server = XdsServer(time.monotonic, told=Listeners(warned=warnings.append), identities=Identities({}, {"test": ""}))
    server.refuse_revoked(Revocations(lists, authority.certificate, time.time, warnings.append))
    credentials = Credentials(TlsFiles(own.certificate, own.key, authority.certificate, lists), pytest.fail)
    port = server.listen("127.0.0.1:0", credentials)
    await server.start()
    await server.publish({"default/a": snapshot(*(f"{short}:a-own{'/x' * (short == 'h')}@1" for short in SHORT))})
    yield Guarded(server, port, authority, lists, stolen, good, warnings)
    await server.stop(0)


async def test_a_stolen_certificate_is_refused(guarded: Guarded, delta: bool) -> None:
    server = guarded.server
    async with guarded.client(guarded.stolen, delta=delta) as thief, guarded.client(guarded.good) as other:
        for client in (thief, other):
            client.ask(CLUSTER)
            client.answer(await client.next())
        await guarded.revoke_now(guarded.stolen)
        assert "revoked" in await refusal(thief)
        await until(lambda: len(server.proxies()) == 1)
        await server.publish({"default/a": snapshot("c:b-own@1")})
        assert other.names(await other.next()) == ["b-own"]
    await guarded.refused(guarded.stolen, delta=delta)
    await guarded.refused(guarded.stolen, delta=delta)
    assert server.counters.refused == {"PERMISSION_DENIED": 3}
    serial = x509.load_pem_x509_certificate(guarded.stolen.certificate.read_bytes()).serial_number
    (sentence,) = guarded.told
    assert f"certificate {serial:x} of 'CN=ca'" in sentence
    assert URI in sentence
    await guarded.revoke_now()
    await guarded.works(guarded.stolen, "b-own")


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_no_service_lets_a_stolen_certificate_in(guarded: Guarded, service: str) -> None:
    await guarded.revoke_now(guarded.stolen)
    await guarded.refused(guarded.stolen, service=service)


async def test_load_reports_health_and_reflection_refuse_it_too(guarded: Guarded) -> None:
    tls = guarded.authority.client(guarded.stolen)
    going, begun = asyncio.Event(), asyncio.Event()

    async def between(number: int) -> None:
        if number:
            begun.set()
            await going.wait()

    reporting = asyncio.create_task(told(guarded.port, [report("default/a"), report(node=False)], tls, between))
    await begun.wait()
    calls = Calls(guarded, guarded.stolen)
    watch, reflect = calls.watch(), calls.reflect()
    assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
    assert (await anext(reflect)).list_services_response.service
    await guarded.revoke_now(guarded.stolen)
    with pytest.raises(GRPCError) as ended:
        await reporting
    assert ended.value.status is Status.PERMISSION_DENIED
    for each in (watch, reflect):
        assert await denied(anext(each))
    assert await denied(calls.check())
    assert await denied(anext(calls.watch()))
    assert await denied(anext(calls.reflect()))
    await calls.close()
    others = Calls(guarded, guarded.good)
    assert (await others.check()).status == health_pb2.HealthCheckResponse.SERVING
    assert (await anext(others.reflect())).list_services_response.service
    await others.close()


class Calls:
    """Health and reflection, asked with a certificate."""

    def __init__(self, guarded: Guarded, issued: Issued) -> None:
        shown = issued.key.read_bytes(), issued.certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(guarded.authority.certificate.read_bytes(), *shown)
        self._channel: Any = grpc.aio.secure_channel(f"127.0.0.1:{guarded.port}", credentials)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._reflection: Any = reflection_pb2_grpc.ServerReflectionStub(self._channel)

    async def check(self) -> Any:
        return await self._health.Check(health_pb2.HealthCheckRequest(), timeout=10)

    def watch(self) -> AsyncIterator[Any]:
        return aiter(self._health.Watch(health_pb2.HealthCheckRequest(), timeout=30))

    def reflect(self) -> AsyncIterator[Any]:
        async def asked() -> AsyncIterator[Any]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            await asyncio.Event().wait()

        return aiter(self._reflection.ServerReflectionInfo(asked(), timeout=30))

    async def close(self) -> None:
        await self._channel.close()


async def denied(call: Any) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code() is grpc.StatusCode.PERMISSION_DENIED and "revoked" in (refused.value.details() or "")


async def test_who_takes_nothing_gets_no_more_than_was_on_its_way(guarded: Guarded) -> None:
    """The stream is full of bytes that nobody reads: there is no room for a last word either, until somebody does."""
    large = [replace(resource("c", f"{number}", "1"), body=bytes(4_000_000)) for number in range(8)]
    await guarded.server.publish({"default/a": snapshot_of("default/a", large)})
    with pytest.raises(GRPCError, match="revoked"):
        await take_late(guarded)


async def take_late(guarded: Guarded) -> None:
    """Ask, and read only when the certificate is revoked; raises what the stream ends with."""
    first = request(True, CLUSTER, node=("thief", "default/a"))
    channel = Channel("127.0.0.1", guarded.port, ssl=guarded.authority.client(guarded.stolen))
    method: StreamStreamMethod[Any, Any] = StreamStreamMethod(channel, ads(True), type(first), Garbage)
    try:
        async with method.open() as stream:
            await stream.send_message(first)
            await until(lambda: len(guarded.server.proxies()) == 1)
            await guarded.revoke_now(guarded.stolen)
            await until(lambda: not guarded.server.proxies() and not guarded.server._streams)
            assert await asyncio.wait_for(stream.recv_message(), 10), "this was on its way"
            assert await asyncio.wait_for(stream.recv_message(), 10) is None
    finally:
        channel.close()


async def test_a_foreign_list_changes_nothing(guarded: Guarded, tmp_path: Path) -> None:
    await guarded.revoke_now(guarded.stolen)
    guarded.lists.write_bytes(Authority(tmp_path / "foreign").revoke(guarded.good))
    async with guarded.client(guarded.good) as other:
        other.ask(CLUSTER)
        assert other.names(await other.next()) == ["a-own"]
        await guarded.look()
        await guarded.works(guarded.good)
        await guarded.refused(guarded.stolen)
        assert "no authority in --xds-ca signed it" in guarded.told[0]
        await guarded.revoke_now(guarded.good)
        assert "revoked" in await refusal(other)
    await guarded.works(guarded.stolen)


def test_what_must_not_count_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path / "other", "other")
    stolen, good, lists, warnings = authority.issue("stolen"), authority.issue("good"), tmp_path / "lists", list[str]()
    lists.write_bytes(authority.revoke(stolen))
    known = Revocations(lists, authority.certificate, time.time, warnings.append)
    before, whole = known.lists, authority.revoke(good)
    for text, words in (
        (Authority(tmp_path / "foreign").revoke(good), "it is of 'CN=ca', and no authority in --xds-ca signed it"),
        (b"", "must be PEM of whole revocation lists"),
        (whole + other.revoke(), "list 2 cannot count: it is of 'CN=other'"),
        (whole + whole[:100], "must be PEM of whole revocation lists"),
        (whole.replace(b"A", b"B"), "list 1 cannot count"),
        (good.certificate.read_bytes(), "must be PEM of whole revocation lists"),
        (None, "No such file"),
    ):
        if text is None:
            lists.unlink()
        else:
            lists.write_bytes(text)
        del warnings[:]
        assert not known.look()
        assert not known.look()
        assert words in known.problem
        assert warnings == [f"{known.problem}; the last good lists still count"]
        assert known.lists == before
        assert "cellway_revocation_lists_good 0.0" in metrics(known)
    lists.write_bytes(whole)
    assert known.look()
    assert not known.problem
    page = metrics(known)
    assert "cellway_revocation_lists_good 1.0" in page
    assert 'cellway_revocation_list_due_timestamp_seconds{issuer="CN=ca"}' in page


def metrics(known: Revocations) -> str:
    return Metrics("0", "0", lambda: State(revocations=known)).text().decode()


class Signer:
    """An authority whose lists can be odd."""

    def __init__(self, folder: Path, *, signs: bool | None = None, ed: bool = False) -> None:
        self.key: Any = ed25519.Ed25519PrivateKey.generate() if ed else ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
        self.hash = None if ed else hashes.SHA256()
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateBuilder(self.name, self.name, self.key.public_key(), 7, now - DAY, now + DAY)
        if signs is not None:
            usage = x509.KeyUsage(True, False, False, False, False, True, signs, False, False)
            built = built.add_extension(usage, critical=True)
        self.pem = built.sign(self.key, self.hash).public_bytes(serialization.Encoding.PEM)
        self.file, self.lists = folder / "odd.pem", folder / "odd-lists.pem"
        self.file.write_bytes(self.pem)

    def revoke(self, *extensions: x509.ExtensionType, serial: int = 5, due: datetime.timedelta = DAY) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateRevocationListBuilder(self.name, now - 9 * DAY, now + due)
        built = built.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now - 9 * DAY).build())
        for one in extensions:
            built = built.add_extension(one, critical=True)
        text = built.sign(self.key, self.hash).public_bytes(serialization.Encoding.PEM)
        self.lists.write_bytes(text)
        return text

    def read(self, told: Callable[[str], None] = pytest.fail, wall: Callable[[], float] = time.time) -> Revocations:
        return Revocations(self.lists, self.file, wall, told)


def test_what_cannot_count_is_refused_at_the_start(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    with pytest.raises(ValueError, match=r"odd-lists\.pem: No such file"):
        signer.read()
    signer.revoke(x509.DeltaCRLIndicator(1))
    with pytest.raises(ValueError, match="a delta or an indirect list"):
        signer.read()
    signer.revoke(x509.IssuingDistributionPoint(None, None, False, False, None, True, False))
    with pytest.raises(ValueError, match="a delta or an indirect list"):
        signer.read()
    mute = Signer(tmp_path, signs=False)
    mute.revoke()
    with pytest.raises(ValueError, match="no authority in --xds-ca signed it"):
        mute.read()
    mute.file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"odd\.pem: no PEM of certificates"):
        mute.read()
    able = Signer(tmp_path, signs=True)
    able.revoke()
    assert able.read().lists.revoked == {"CN=odd": {5}}


def test_lists_of_one_issuer_add_up_whichever_of_its_keys_signed(tmp_path: Path) -> None:
    old, new = Signer(tmp_path, ed=True), Signer(tmp_path)
    texts = old.revoke(serial=1) + new.revoke(serial=2)
    new.lists.write_bytes(texts)
    new.file.write_bytes(old.pem + new.pem)
    assert new.read().lists.revoked == {"CN=odd": {1, 2}}


def test_a_list_that_is_lost_still_counts_until_its_authority_goes(tmp_path: Path) -> None:
    one, other = Authority(tmp_path / "one", "one"), Authority(tmp_path / "other", "other")
    lists, authorities, warnings = tmp_path / "lists", tmp_path / "authorities", list[str]()
    lists.write_bytes(one.revoke(one.issue("x")) + other.revoke())
    both = one.certificate.read_bytes() + other.certificate.read_bytes()
    authorities.write_bytes(both)
    known = Revocations(lists, authorities, time.time, warnings.append)
    before = known.lists
    lists.write_bytes(other.revoke())
    assert not known.look()
    assert known.lists == before
    assert warnings == [
        f"{lists}: there is no list of 'CN=one' any more, which is still in --xds-ca; the last good lists still count"
    ]
    authorities.write_bytes(other.certificate.read_bytes())
    assert known.look()
    assert known.lists.revoked == {"CN=other": frozenset()}


def test_a_list_that_is_overdue_still_counts_and_is_told_once(tmp_path: Path) -> None:
    signer, warnings, now = Signer(tmp_path), list[str](), time.time()
    signer.revoke(due=-DAY)
    known = signer.read(warnings.append)
    assert known.lists.revoked == {"CN=odd": {5}}
    known.look()
    assert len(warnings) == 1
    assert "the next revocation list of 'CN=odd' was due" in warnings[0]
    signer.revoke(due=DAY)
    later = [now]
    known = signer.read(warnings.append, lambda: later[0])
    assert len(warnings) == 1
    later[0] += 2 * DAY.total_seconds()
    known.look()
    known.look()
    assert len(warnings) == 2


def test_an_authority_between_may_be_revoked_too(tmp_path: Path) -> None:
    signer, authority = Signer(tmp_path), Authority(tmp_path)
    signer.revoke(serial=7)
    leaf = authority.issue("x").certificate.read_bytes()
    chain = read_shown(leaf + signer.pem, ("x",))
    found = signer.read().lists.has(chain)
    assert found == chain[1]
    assert signer.read().lists.has(chain[:1]) is None
    with pytest.raises(ValueError, match="no certificate"):
        read_shown(b"", ())
