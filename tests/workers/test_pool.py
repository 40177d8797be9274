"""Several processes behind real sockets: who may come, what is known of all, and what becomes of one that is of no use.

In: a pool of two processes, clients of their ports, files of TLS, signals, and a process that talks nonsense. Out: failures where
a process lets in whom one server would not, or the pool depends on one that is stuck or mad.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.protocol.authority import Authority, Issued
from tests.protocol.health import SERVING, health
from tests.protocol.second_client import Client
from tests.protocol.snapshots import snapshot
from xds_server.serve.counters import Listeners
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.revocation import Revocations
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.serve.tokens import Tokens
from xds_server.snapshot.resource import CLUSTER, Resource, snapshot_of
from xds_server.workers import pool as pool_module
from xds_server.workers import process as process_module
from xds_server.workers.pool import Pool, Share

TOKENS = Tokens(b"k" * 32)
URI = "spiffe://test/gateway/default/edge"


@dataclass
class Running:
    """A pool, its ports in plain text and with TLS, and what it was told."""

    pool: Pool
    plain: int
    tls: int
    authority: Authority
    other: Authority
    stolen: Issued
    lists: Path
    said: list[str] = field(default_factory=list)

    def client(self, name: str = "one", gateway: str = "default/edge") -> Client:
        word = f"Bearer {TOKENS.word(gateway)}"
        return Client(self.plain, delta=True, node_id=name, cluster="default/edge", authorization=word)

    async def until_all_serve(self) -> None:
        """Return when all processes do."""
        async with asyncio.timeout(60):
            while any(one.problem for one in self.pool.processes()):
                await self.pool.changed()


async def known(pool: Pool, streams: int) -> None:
    """Return when so many streams are known."""
    async with asyncio.timeout(30):
        await pool.look()
        while len(pool.proxies()) != streams:
            await asyncio.sleep(0.02)
            await pool.look()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    authority, said = Authority(tmp_path), list[str]()
    other = Authority(tmp_path / "other", "other")
    own, lists, stolen = authority.issue("server"), tmp_path / "lists.pem", other.issue("stolen", URI)
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(authority.certificate.read_bytes() + other.certificate.read_bytes())
    lists.write_bytes(authority.revoke() + other.revoke(stolen))
    told = Listeners(warned=said.append)
    pool = Pool(Share(2, Limits(streams=8), Identities({}, {"test": ""})), time.monotonic, told)
    pool.ask_for_tokens(TOKENS)
    pool.refuse_revoked(Revocations(lists, authorities, time.time, said.append))
    plain = pool.listen("127.0.0.1:0")
    files = TlsFiles(own.certificate, own.key, authorities, lists)
    tls = pool.listen("127.0.0.1:0", Credentials(files, said.append))
    await pool.start()
    await pool.publish({"default/edge": snapshot("c:one@1", "c:two@1")})
    yield Running(pool, plain, tls, authority, other, stolen, lists, said)
    await pool.stop(0)


def start_the_next(monkeypatch: pytest.MonkeyPatch, start: Callable[[socket.socket], subprocess.Popen[bytes]]) -> None:
    """The next process is started in this way, and those after it as always."""
    always = process_module._started

    def started(connection: socket.socket) -> subprocess.Popen[bytes]:
        monkeypatch.setattr(process_module, "_started", always)
        return start(connection)

    monkeypatch.setattr(process_module, "_started", started)


async def refusal(client: Client) -> GRPCError:
    client.ask(CLUSTER)
    with pytest.raises(GRPCError) as refused:
        await client.next()
    return refused.value


async def test_every_process_asks_who_comes_and_the_pool_knows_all(running: Running) -> None:
    pool = running.pool
    for _ in range(6):  # whichever process they come to
        async with running.client(gateway="default/other") as client:
            assert (await refusal(client)).status is Status.PERMISSION_DENIED
    stolen = running.authority.issue("stolen", URI)
    with_tls = Client(running.tls, delta=True, cluster="default/edge", tls=running.authority.client(stolen))
    async with with_tls as thief, running.client() as other:
        for client in (thief, other):
            client.ask(CLUSTER)
            first = await client.next()
            assert client.names(first) == ["one", "two"]
            client.answer(first)
        await known(pool, 2)
        running.lists.write_bytes(running.authority.revoke(stolen) + running.other.revoke(running.stolen))
        with pytest.raises(GRPCError) as ended:
            await thief.next()
        assert ended.value.status is Status.PERMISSION_DENIED
        await known(pool, 1)
        assert pool.connected() == {"default/edge"}
        assert pool.counters.acks == {CLUSTER: 2}
        assert pool.counters.refused == {"PERMISSION_DENIED": 7}
        await pool.publish({"default/edge": snapshot("c:one@2", "c:two@1")})
        response = await other.next()
        assert other.names(response) == ["one"]
        (record,) = pool.proxies()
        assert not record.synced, "what is known is not older than the publication"


async def test_a_process_that_starts_anew_refuses_what_the_others_do(running: Running) -> None:
    """A file that has lost the list of an authority changes nothing, for those neither that never saw it whole."""
    pool, before = running.pool, [one.pid for one in running.pool.processes()]
    running.lists.write_bytes(running.authority.revoke())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while any(one.starts < 2 or one.problem for one in pool.processes()):
            await pool.changed()
    assert {await health(running.plain) for _ in range(8)} == {SERVING}
    thief = Client(running.tls, delta=True, cluster="default/edge", tls=running.authority.client(running.stolen))
    async with thief:
        assert (await refusal(thief)).status is Status.PERMISSION_DENIED
    good = running.authority.client(running.authority.issue("good", URI))
    async with Client(running.tls, delta=True, cluster="default/edge", tls=good) as client:
        client.ask(CLUSTER)
        assert client.names(await client.next()) == ["one", "two"]


async def test_limits_are_shared_out(running: Running) -> None:
    assert Share(3, Limits(streams=8, streams_per_peer=1)).of_one() == Limits(streams=3, streams_per_peer=1)
    clients = [
        running.client(f"n{number}") for number in range(40)
    ]  # that one process gets less than four of them does not happen
    served, refused = 0, list[Status]()
    for client in clients:
        await client.__aenter__()
        client.ask(CLUSTER)
        try:
            await client.next()
            served += 1
        except GRPCError as error:
            refused.append(error.status)
    assert (served, refused) == (8, [Status.RESOURCE_EXHAUSTED] * 32)
    for client in clients:
        await client.__aexit__()


async def test_a_process_that_does_not_answer_is_replaced(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = running.pool
    monkeypatch.setattr(pool_module, "_ANSWER", 0.2)
    monkeypatch.setattr(pool_module, "_PATIENCE", 0.5)
    stuck = pool.processes()[0]
    os.kill(stuck.pid, signal.SIGSTOP)
    await pool.look()
    assert [one.problem for one in pool.processes()] == ["serving process 1 does not answer", ""]
    async with asyncio.timeout(60):
        while pool.processes()[0].starts < 2:
            await pool.changed()
    monkeypatch.undo()
    await running.until_all_serve()
    assert pool.processes()[0].pid != stuck.pid
    assert any("serving process 1 did not answer and is started anew" in one for one in running.said)
    await pool.look()
    assert [one.problem for one in pool.processes()] == ["", ""]


async def test_a_process_that_cannot_be_started_now_is_started_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = running.pool

    def no_room(_connection: socket.socket) -> subprocess.Popen[bytes]:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    start_the_next(monkeypatch, no_room)
    os.kill(pool.processes()[0].pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while pool.processes()[0].starts < 2:
            await pool.changed()
    await running.until_all_serve()
    assert any("process 1 cannot be started: Resource temporarily" in one for one in running.said), running.said


async def test_what_nobody_expects_where_processes_are_looked_after_is_not_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_connection: socket.socket) -> subprocess.Popen[bytes]:
        raise KeyError("unexpected")

    monkeypatch.setattr(process_module, "_started", broken)
    os.kill(running.pool.processes()[0].pid, signal.SIGKILL)
    with pytest.raises(KeyError, match="unexpected"):
        await asyncio.wait_for(running.pool.watch_processes(), 60)


async def test_a_process_that_never_begins_to_serve_is_replaced(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = running.pool

    def idle(connection: socket.socket) -> subprocess.Popen[bytes]:
        waits = [sys.executable, "-c", "import signal; signal.pause()"]
        return subprocess.Popen(waits, pass_fds=(connection.fileno(),))

    start_the_next(monkeypatch, idle)
    monkeypatch.setattr(pool_module, "_BIRTH", 0.01)
    os.kill(pool.processes()[0].pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while pool.processes()[0].starts < 3:
            await pool.changed()
    monkeypatch.undo()
    await running.until_all_serve()
    assert any("process 1 did not begin to serve and is started anew" in one for one in running.said), running.said


async def test_no_process_is_started_anew_by_a_server_that_stops(running: Running) -> None:
    pool = running.pool
    os.kill(pool.processes()[0].pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while not pool.processes()[0].problem:
            await pool.changed()
    await pool.stop(0)
    assert [(one.pid, one.starts) for one in pool.processes()] == [(0, 1), (0, 1)]


async def test_a_publication_that_is_larger_than_what_may_wait_ends_nobody(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_UNREAD", 2**20)
    large = [Resource(CLUSTER, f"c{number}", bytes([number]) * 2**20, "1") for number in range(20)]
    await running.pool.publish({"default/edge": snapshot_of("default/edge", large)})
    await running.pool.look()
    assert [(one.starts, one.problem) for one in running.pool.processes()] == [(1, ""), (1, "")]


def test_too_much_waits_when_nothing_of_it_was_read_for_long() -> None:
    much, unread = 2**29, process_module._Unread(0.0)
    assert not unread.is_too_much(0, much, 100.0)
    assert not unread.is_too_much(much, 10, 120.0), "it was sent at once, and much is read for long"
    assert not unread.is_too_much(much - 5, 10, 140.0), "some of it was read"
    assert not unread.is_too_much(much + 5, 10, 169.0)
    assert unread.is_too_much(much + 15, 10, 171.0)
    assert not unread.is_too_much(0, 10, 172.0)
    assert not unread.is_too_much(10, 10, 300.0), "little may wait as long as it likes"


NONSENSE = "import os,sys;n=int(sys.argv[1]);os.write(n,bytes([0]*7+[3])+b'abc')"
BLIND = """
from xds_server.serve.gate import Gate
from xds_server.workers.worker import main
async def look(self):
    raise KeyError("lists")
Gate.look = look
main()
"""
ENDS = {"said what nobody understands": NONSENSE, "lost 'revoked certificates' by an error (KeyError)": BLIND}


@pytest.mark.parametrize("reason", ENDS)
async def test_a_process_that_is_of_no_use_is_ended(
    running: Running, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, whole = running.pool, process_module._started

    def mad(connection: socket.socket) -> subprocess.Popen[bytes]:
        monkeypatch.setattr(process_module, "_started", whole)
        number = connection.fileno()
        return subprocess.Popen([sys.executable, "-c", ENDS[reason], str(number)], pass_fds=(number,))

    monkeypatch.setattr(process_module, "_started", mad)
    os.kill(pool.processes()[1].pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while pool.processes()[1].starts < 3:
            await pool.changed()
    await running.until_all_serve()
    assert any(reason in one for one in running.said), running.said
    async with running.client() as client:
        client.ask(CLUSTER)
        assert client.names(await client.next()) == ["one", "two"]
