"""`run --demo`: every line that it prints works and answers as it says."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import Cellway, reserve_block
from xds_server.cli.demo import demo_endpoints, things_to_try
from xds_server.graph import (
    Backend,
    Destination,
    Endpoint,
    Forward,
    Gateway,
    HttpChain,
    Match,
    PathType,
    Port,
    Redirect,
    Respond,
    Route,
    Setting,
    ValueMatch,
    VirtualHost,
)
from xds_server.types import Key

PICKY = Match(PathType.EXACT, "/x", "POST", (ValueMatch("a", "b c"),), (ValueMatch("q", "1"),))
QUICKSTART = Path(__file__).parents[2] / "policies" / "quickstart"


def one_gateway(*routes: Route, host: str = "shop.example", address: str = "127.0.0.1", tls: bool = False) -> Gateway:
    chain = HttpChain("c", (VirtualHost(host, routes),))
    port = Port("p", (address,), 8080, (chain,), tls=tls)
    return Gateway(Key("gateway.networking.k8s.io", "Gateway", "default", "edge"), (port,))


def forward(*addresses: str, name: str = "b", weight: int = 1) -> Forward:
    backend = Backend(name, tuple(Endpoint(address, 3000) for address in addresses))
    return Forward((Destination(name, backend, weight),))


def test_the_lines_of_the_quickstart_work(tmp_path: Path) -> None:
    block = reserve_block()
    running = Cellway(tmp_path / "policies", tmp_path / "state", block, ("--demo",))
    shutil.copytree(QUICKSTART, running.folder)
    for path in running.folder.iterdir():
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"127\.0\.0\.(\d+)", rf"{block.prefix}.\1", text)
        path.write_text(text, encoding="utf-8")
    try:
        running.start()
        deadline = time.monotonic() + 60
        while "Try:" not in running.log() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        lines = running.log().splitlines()
        tries = [(line.strip(), said.strip()) for line, said in pairwise(lines) if line.strip().startswith("curl ")]
        assert len(tries) == 3
        for line, said in tries:
            assert said.startswith("# ")
            answer = ask(line)
            assert answer.status_code == 200, (line, answer.text)
            assert answer.json()["served_by"].startswith(block.prefix)
        limited = next(line for line, said in tries if "429" in said)
        assert Counter(ask(limited).status_code for _ in range(5)) == {200: 4, 429: 1}
    finally:
        running.close()


def ask(line: str) -> httpx.Response:
    """What curl would do."""
    words = shlex.split(line)
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    return httpx.request(method, words[-1], headers=headers, timeout=10)


def test_endpoints_of_gateways_and_beyond_loopback_are_left_alone() -> None:
    gateway = one_gateway(Route("r", Match(), forward("127.0.0.11", "10.0.0.1")))
    assert demo_endpoints([gateway]) == (("127.0.0.11", 3000),)
    other = Gateway(Key("", "Gateway", "default", "b"), (Port("p", ("127.0.0.11",), 3000, ()),))
    assert demo_endpoints([gateway, other]) == ()
    everywhere = Gateway(Key("", "Gateway", "default", "b"), (Port("p", ("0.0.0.0",), 3000, ()),))
    assert demo_endpoints([gateway, everywhere]) == ()


@pytest.mark.parametrize(
    ("route", "command", "expected"),
    [
        (Route("r", Match(), forward("127.0.0.1")), "curl -i -H 'Host: shop.example' http://127.0.0.1:8080/", "200 from b"),
        (
            Route("r", PICKY, forward("127.0.0.1")),
            "curl -i -X POST -H 'Host: shop.example' -H 'a: b c' 'http://127.0.0.1:8080/x?q=1'",
            "200 from b",
        ),
        (Route("r", Match(), Respond(418)), "curl -i -H 'Host: shop.example' http://127.0.0.1:8080/", "418"),
        (Route("r", Match(), Redirect(301)), "curl -i -H 'Host: shop.example' http://127.0.0.1:8080/", "301 to another URL"),
        (
            Route("r", Match(), forward("127.0.0.1"), (Setting("jwt", None),)),
            "curl -i -H 'Host: shop.example' http://127.0.0.1:8080/",
            "401 without a token",
        ),
        (Route("r", Match(), Forward(())), "curl -i -H 'Host: shop.example' http://127.0.0.1:8080/", "500"),
    ],
)  # fmt: skip
def test_a_line_says_what_to_expect(route: Route, command: str, expected: str) -> None:
    (found,) = things_to_try([one_gateway(route)])
    assert (found.command, found.expected) == (command, expected)


def test_other_hosts_and_tls() -> None:
    route = Route("r", Match(), forward("127.0.0.1"))
    (any_host,) = things_to_try([one_gateway(route, host="*", address="0.0.0.0")])
    assert any_host.command == "curl -i http://127.0.0.1:8080/"
    (wildcard,) = things_to_try([one_gateway(route, host="*.shop.example")])
    assert "'Host: any.shop.example'" in wildcard.command
    (tls,) = things_to_try([one_gateway(route, tls=True)])
    assert tls.command == "curl -i -k --resolve shop.example:8080:127.0.0.1 https://shop.example:8080/"
    own = Match(headers=(ValueMatch("host", "[^:]*(:80)?", regex=True),))
    other = Match(headers=(ValueMatch("host", "[^:]*:81", regex=True),))
    answers = ((own, 200), (other, 403), (Match(), 404))
    (first,) = things_to_try([one_gateway(*(Route("r", match, Respond(status)) for match, status in answers))])
    assert (first.command, first.expected) == ("curl -i -H 'Host: shop.example' http://127.0.0.1:8080/", "200")
    assert things_to_try([one_gateway(Route("r", Match(PathType.REGEX, "/[0-9]+"), Respond(200)))]) == ()
