"""One document from a real server: what is taken for an answer, and whom nobody asks."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.translate.live import Server
from xds_server.features.parts.servers import address_problem
from xds_server.fetch import web
from xds_server.fetch.web import LONGEST, FetchError, fetch, fetch_description


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server("web")
    yield running
    running.close()


def url(server: Server, path: str = "/document", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.address[1]}{path}"


def refused(where: str, look_up: Any = socket.getaddrinfo) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(where, look_up)
    return str(caught.value)


def test_a_document_comes_as_it_is(server: Server) -> None:
    server.body = '{"issuer": "ü"}'
    assert fetch(url(server, "/a?b=c")) == server.body
    assert server.seen == ["/a?b=c"]


def test_only_a_whole_and_plain_answer_counts(server: Server) -> None:
    server.headers = {"location": url(server)}
    assert refused(url(server, "/status/302")) == "it answers 302"
    assert refused(url(server, "/status/503")) == "it answers 503"
    assert server.seen == ["/status/302", "/status/503"]
    server.body = "x" * (LONGEST + 1)
    assert "more than" in refused(url(server))
    server.close()
    assert "refused" in refused(url(server))


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0", "2852039166", "0xa9fea9fe",
     "169.254.43518", "0xa9.0xfe.0xa9.0xfe", "224.0.0.1", "100.100.100.200", "[::ffff:100.100.100.200]", "168.63.129.16",
     "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b::6464:64c8]", "[64:ff9b:1::1]", "[2002:7f00:1::]",
     "[2002:a9fe:a9fe::1]", "[2002:a00:1::]", "[2001:0:1:1:1:1:80ff:fffe]", "[::10.0.0.1]", "[::127.0.0.1]"],
)  # fmt: skip
def test_addresses_for_the_machine_itself_are_never_asked(host: str) -> None:
    reason = refused(f"http://{host}/")
    assert "is not allowed" in reason or "as it is usually written" in reason


@pytest.mark.parametrize("host", ["64:ff9b::808:808", "2002:808:808::1", "10.0.0.1", "::1", "127.0.0.1", "fd00::1"])
def test_other_addresses_are(host: str) -> None:
    assert address_problem(host) == ""


@pytest.mark.parametrize(
    "path", ["/admin", "/admin?x=/.well-known/openid-configuration", "/.well-known/openid-configuration/"]
)
def test_nothing_but_descriptions_of_issuers_is_asked_for(server: Server, path: str) -> None:
    with pytest.raises(FetchError, match="no query"):
        fetch_description(url(server, path))
    assert server.seen == []


@pytest.mark.parametrize(
    "host", ["idp..example", ".idp.example", f"{'a' * 64}.example", "{tenant}.example", "a!b.example"]
)
def test_a_host_that_is_no_name_is_never_looked_up(host: str) -> None:
    assert "neither a DNS name nor an address" in refused(f"http://{host}/")


def test_what_cannot_be_asked_is_a_failure_like_any_other(server: Server) -> None:
    def broken(*_: Any, **__: Any) -> list[Any]:
        raise UnicodeError("label too long")

    assert "label too long" in refused(url(server), broken)
    assert refused(url(server, "/\u00e9"))


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx-a: ", b""])
def test_who_sends_a_byte_now_and_then_holds_nobody(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        trickle = pool.submit(_trickle, listening, head)
        assert "takes longer" in refused(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        trickle.result(60)


def _trickle(listening: socket.socket, head: bytes) -> None:
    connection, _ = listening.accept()
    with connection, contextlib.suppress(OSError):
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


def test_a_name_is_judged_by_where_it_leads(server: Server) -> None:
    def inward(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("127.0.0.1", "169.254.169.254")]

    assert "169.254.169.254 is not allowed" in refused(url(server, host="metadata.example"), inward)
    assert not server.seen


def test_a_certificate_of_nobody_is_not_taken(server: Server) -> None:
    assert refused(f"https://localhost:{server.address[1]}/")
    assert not server.seen
