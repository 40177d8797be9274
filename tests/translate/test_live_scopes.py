"""One table and many in a real Envoy: the same answers to the same requests, whatever is in the Host header."""

from __future__ import annotations

import itertools
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.translate.graphs import backend, forward, gateway, host, route
from tests.translate.live import Envoy, envoy_binary
from xds_server.explain.request import Request
from xds_server.explain.tables import read_tables
from xds_server.explain.walk import explain
from xds_server.features import FEATURES
from xds_server.graph import Gateway, HttpChain, Respond
from xds_server.observe.resources_view import static_bootstrap, to_yaml
from xds_server.rules.messages import Rules
from xds_server.snapshot.build import build_snapshot
from xds_server.snapshot.resource import Snapshot
from xds_server.translate.gateway import translate_gateway

NAMES = [f"host-{number}.example" for number in range(12)]
HOSTS = [
    *NAMES, *(name.upper() for name in NAMES[:6]), *(f"{name}:80" for name in NAMES[:6]), *(f"{name}." for name in NAMES[:6]),
    *(f"{name}.:8080" for name in NAMES[:4]), *(f"{name}:xyz" for name in NAMES[:4]), *(f"{name}:1:2" for name in NAMES[:3]),
    "x.wild.example", "X.Y.Wild.Example", "x.wild.example:81", "x.wild.example.", ".wild.example", "wild.example",
    "in.wild.example", "IN.wild.example:8", "unknown", "other.example", "a.b.c.d", "127.0.0.1", "127.0.0.1:99",
    "[::1]", "[::1]:80", "[fe80::1%25eth0]", "::1", "xn--bcher-kva.example", "a--b", "~", "host-3.example:", "host-3",
    "host-33.example", "-", "*", "*.wild.example", "host%2d3.example", "b\xfccher.example", "host-4.example.example",
]  # fmt: skip
ASKED = [
    *((one, "1.1", path) for one in HOSTS for path in ("/", "/one", "/three")),
    *((one, "1.0", "/") for one in NAMES),
]


@pytest.fixture(scope="module")
def both(envoy: Envoy) -> tuple[Envoy, Gateway]:
    """One port with one table, and one with many, for the same hosts."""
    echo = backend(envoy.server("echo").address)
    hosts = [
        host(name, route(Respond(200, f"{name} one"), path="/one"), route(Respond(200, name), path="/"))
        for name in NAMES
    ]
    hosts += [host("*.wild.example", route(Respond(200, "wild"))), host("in.wild.example", route(Respond(200, "in")))]
    hosts += [host("echo.example", route(forward(echo))), host("*", route(Respond(418, "any"), path="/three"))]
    plain = gateway(*hosts)
    port, chain = plain.ports[0], plain.ports[0].http_chains[0]
    assert isinstance(chain, HttpChain)
    many = replace(chain, name="default/edge/many", spread=True)
    wanted = replace(plain, ports=(port, replace(port, name="default/edge/many-8080", chains=(many,))))
    envoy.apply(wanted)
    return envoy, wanted


def ask(port: int, name: str, version: str = "1.1", path: str = "/", *more: str) -> tuple[str, str]:
    """The status and the body of an answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as answer:
        lines = [f"GET {path} HTTP/{version}", f"Host: {name}", *more, "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        status = answer.readline().decode("latin-1").strip()
        length = 0
        while line := answer.readline().strip().lower():
            length = int(line.partition(b":")[2]) if line.startswith(b"content-length:") else length
        return status, answer.read(length).decode("latin-1")


def test_many_tables_answer_as_one_does(both: tuple[Envoy, Gateway]) -> None:
    envoy, _ = both
    one, many = envoy.ports["default/edge/http-8080"], envoy.ports["default/edge/many-8080"]
    different = {asked: found for asked in ASKED if (found := (ask(one, *asked), ask(many, *asked)))[0] != found[1]}
    assert different == {}
    answers = {ask(many, *asked)[1] for asked in ASKED}
    assert {*NAMES, "wild", "in", "any", "", "host-3.example one"} <= answers


def test_no_client_chooses_a_table_and_no_backend_hears_of_it(both: tuple[Envoy, Gateway]) -> None:
    envoy, _ = both
    many = envoy.ports["default/edge/many-8080"]
    for value in ("default/edge/many/00000", "default/edge/many/11111", ""):
        header = f"x-cellway-table: {value}"
        assert ask(many, "host-3.example", "1.1", "/", header, header) == ("HTTP/1.1 200 OK", "host-3.example")
        status, body = ask(many, "echo.example", "1.1", "/", header)
        assert (status, "x-cellway-table" in body.lower()) == ("HTTP/1.1 200 OK", False)


def snapshot_of(wanted: Gateway) -> Snapshot:
    messages, _ = translate_gateway(wanted, FEATURES, Rules().check)
    snapshot, problems = build_snapshot("default/edge", messages, Rules().check)
    assert not problems
    return snapshot


def test_a_bootstrap_without_a_control_plane_has_every_table_in_its_scope(
    both: tuple[Envoy, Gateway], tmp_path: Path
) -> None:
    _, wanted = both
    file = tmp_path / "static.yaml"
    file.write_text(to_yaml([static_bootstrap(snapshot_of(wanted))]), encoding="utf-8")
    assert "rds_config_source" not in file.read_text(encoding="utf-8")
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(file), "-l", "error"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.endswith("OK\n")
    for name in NAMES:
        assert file.read_text(encoding="utf-8").count(f"inline_string: {name} one\n") == 2


def test_explain_finds_the_same_host(both: tuple[Envoy, Gateway]) -> None:
    _, wanted = both
    opened = read_tables(snapshot_of(wanted))
    for name, path in itertools.product(
        (*NAMES, "HOST-1.example", "x.wild.example", "in.wild.example", "no"), ("/", "/one")
    ):
        one, many = explain(opened, Request("GET", "http", name, None, path, {}))
        assert (one.host, one.status, [share.route for share in one.shares]) == (
            many.host, many.status, [share.route for share in many.shares],
        )  # fmt: skip
        assert one.table == "default/edge/http"
        assert many.table.startswith("default/edge/many/")
