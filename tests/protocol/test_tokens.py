"""Who may ask for what without a certificate: a token is for one gateway, and without one there is nothing.

In: tokens that are right, nearly right, or of other servers. Out: failures where a byte is told to who has none for it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.protocol.second_client import SERVICES, Client
from tests.protocol.snapshots import snapshot
from tests.protocol.test_loads import report, told
from xds_server.serve.counters import Listeners
from xds_server.serve.grpc import XdsServer
from xds_server.serve.tokens import Tokens, without_words
from xds_server.snapshot.resource import CLUSTER
from xds_server.supervise.records import StateFolder, read_xds_key

TOKENS = Tokens(b"k" * 32)
Asked = tuple[XdsServer, int, list[str]]
WORD = TOKENS.word("default/a")
HEAD, NAME, PROOF = WORD.split(".")


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """A server that asks for tokens in plain text, its port, and what it warns of."""
    warnings: list[str] = []
    server = XdsServer(time.monotonic, told=Listeners(warned=warnings.append))
    server.ask_for_tokens(TOKENS)
    port = server.listen("127.0.0.1:0")
    await server.start()
    await server.publish({f"default/{name}": snapshot(f"c:{name}-own@1", f"e:{name}-own@1") for name in "ab"})
    yield server, port, warnings
    await server.stop(0)


async def refusal(client: Client) -> GRPCError:
    client.ask(CLUSTER)
    with pytest.raises(GRPCError) as refused:
        await client.next()
    return refused.value


async def test_a_token_is_for_its_gateway_alone(asked: Asked, delta: bool) -> None:
    server, port, _ = asked
    async with Client(port, delta, cluster="default/a", authorization=f"Bearer {WORD}") as client:
        client.ask(CLUSTER)
        assert client.names(await client.next()) == ["a-own"]
    async with Client(port, delta, cluster="default/b", authorization=f"Bearer {WORD}") as client:
        refused = await refusal(client)
        assert refused.status is Status.PERMISSION_DENIED
        assert "default" not in str(refused.message)
    assert server.counters.refused == {"PERMISSION_DENIED": 1}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Bearer ",
        WORD,
        f"Basic {WORD}",
        f"Bearer {WORD}0",
        f"Bearer {HEAD}.{NAME}.{'0' * 64}",
        f"Bearer {TOKENS.word('default/b').rpartition('.')[0]}.{PROOF}",
        f"Bearer {Tokens(b'K' * 32).word('default/a')}",
        f"Bearer {HEAD}.{NAME}",
        f"Bearer {HEAD}..{PROOF}",
        f"Bearer {HEAD}.A.{PROOF}",
        f"Bearer {HEAD}.{'A' * 4000}.{PROOF}",
    ],
)
async def test_without_a_good_token_there_is_nothing(asked: Asked, said: str) -> None:
    server, port, warnings = asked
    for _ in range(2):
        async with Client(port, True, cluster="default/a", authorization=said) as client:
            refused = await refusal(client)
        assert refused.status is Status.UNAUTHENTICATED
        assert "cellway bootstrap --state-dir" in str(refused.message)
    assert not server.proxies()
    assert server.counters.refused == {"UNAUTHENTICATED": 2}
    assert warnings == ["a stream from ipv4:127.0.0.1 is refused: it has no token of this server"], "said once"


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_every_service_asks_for_it(asked: Asked, service: str) -> None:
    _, port, _ = asked
    async with Client(port, True, cluster="default/a", service=service) as client:
        assert (await refusal(client)).status is Status.UNAUTHENTICATED


async def test_load_reports_ask_for_it(asked: Asked) -> None:
    server, port, _ = asked
    with pytest.raises(GRPCError) as refused:
        await told(port, [report("default/a", own=(3, 0))])
    assert refused.value.status is Status.UNAUTHENTICATED
    assert not server.loads.by_gateway


def test_the_key_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert read_xds_key(folder) is None
    for _ in range(2):
        state = StateFolder(folder)
        key = state.xds_key()
        state.close()
        assert read_xds_key(folder) == key
    assert len(key) == 32
    assert (folder / "xds-key").stat().st_mode & 0o777 == 0o600
    (folder / "xds-key").write_text("short")
    assert read_xds_key(folder) is None


def test_what_quotes_a_bootstrap_shows_no_token() -> None:
    assert without_words(f"no field at 'Bearer {WORD}', line 3") == "no field at 'Bearer [redacted]', line 3"
    assert TOKENS.key.decode() not in repr(TOKENS)
