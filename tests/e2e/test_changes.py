"""Changes of a live folder as transactions, with real Envoys: plan, apply, history, undo, and what is taken back."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tests.e2e.load import Load
from tests.e2e.running import Cellway, reserve_block
from xds_server.cli.main import application

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: cellway}
spec: {controllerName: cellway.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: cellway
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
"""
SECOND = "  - {name: second, protocol: HTTP, port: 8081}\n"
WEB = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
  - filters:
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-edit, value: EDIT}]}}
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cellway]:
    root = tmp_path_factory.mktemp("changes")
    (root / "policies").mkdir()
    running = Cellway(root / "policies", root / "state", reserve_block())
    running.write("gateway.yaml", GATEWAY)
    running.write("web.yaml", WEB.replace("EDIT", "first"))
    running.upstream(11)
    running.start()
    yield running
    running.close()


@pytest.fixture
def draft(server: Cellway, tmp_path: Path) -> Path:
    """A copy of what is live."""
    folder = tmp_path / "draft"
    folder.mkdir()
    for path in server.folder.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def run(server: Cellway, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application, [*words, "--admin", server.admin.removeprefix("http://")])
    return done.exit_code, done.output


def edit(folder: Path, name: str, text: str, server: Cellway) -> None:
    (folder / name).write_text(text.replace("ADDR", server.block.prefix), encoding="utf-8")


def edition(server: Cellway) -> str:
    return httpx.get(f"http://{server.block.address(1)}:8080/", timeout=10).headers["x-edit"]


def held(server: Cellway) -> dict[str, bytes]:
    """Everything in the live folder, hidden or not."""
    return {path.name: path.read_bytes() for path in server.folder.iterdir()}


def states(server: Cellway) -> list[dict[str, Any]]:
    return list(server.api("history")["items"])


def test_a_plan_changes_nothing_and_an_apply_is_live_when_it_says_so(server: Cellway, draft: Path) -> None:
    before, live = held(server), states(server)[0]["state"]
    assert run(server, "plan", str(draft)) == (0, "no difference\n")
    edit(draft, "web.yaml", WEB.replace("EDIT", "second"), server)
    edit(draft, "more.yaml", GATEWAY.partition("---")[0].replace("name: cellway", "name: other"), server)
    code, said = run(server, "plan", str(draft), "--xds")
    assert code == 1
    assert 'responseHeaderModifier.set[x-edit].value: "first"' in said
    assert "changed RouteConfiguration default/edge/http-8080" in said
    assert held(server) == before
    assert run(server, "diff", str(draft))[0] == 1
    assert run(server, "diff", "--shadow", "--xds") == (0, "no difference\n")
    code, said = run(server, "apply", str(draft), "--expect", live)
    assert (code, edition(server)) == (0, "second"), said
    assert (server.folder / "more.yaml").is_file()
    newest = states(server)[0]
    assert (newest["by"], newest["live"], f"state {newest['state']} is live" in said) == ("apply", True, True)
    code, said = run(server, "apply", str(draft), "--expect", live)
    assert (code, f"not {live}" in said) == (1, True)


def test_an_undo_brings_back_what_was_and_can_be_undone(server: Cellway, draft: Path) -> None:
    now, before = edition(server), held(server)
    edit(draft, "web.yaml", WEB.replace("EDIT", "third"), server)
    (draft / "more.yaml").unlink(missing_ok=True)
    assert run(server, "apply", str(draft))[0] == 0
    assert edition(server) == "third"
    assert run(server, "undo")[0] == 0
    assert (edition(server), held(server)) == (now, before)
    assert run(server, "undo")[0] == 0
    assert edition(server) == "third"
    back = next(one["state"] for one in states(server) if one["number"] == 1)
    assert run(server, "undo", back[:7])[0] == 0
    assert (edition(server), states(server)[0]["by"]) == (now, "undo")
    assert run(server, "undo", "0123456789")[0] == 2
    assert run(server, "undo", "999")[0] == 2


def test_what_is_edited_by_hand_is_in_the_history(server: Cellway) -> None:
    server.write("web.yaml", WEB.replace("EDIT", "by-hand"))
    server.wait()
    assert (states(server)[0]["by"], edition(server)) == ("edit", "by-hand")
    code, said = run(server, "history")
    assert (code, "edit    " in said.splitlines()[0], said.splitlines()[0].endswith("live")) == (0, True, True)
    assert run(server, "undo")[0] == 0
    assert edition(server) != "by-hand"


def test_what_brings_errors_is_not_applied(server: Cellway, draft: Path) -> None:
    before = held(server)
    edit(draft, "web.yaml", WEB.replace("EDIT", "broken").replace("backendRefs", "backendRfs"), server)
    for command in ("plan", "apply"):
        code, said = run(server, command, str(draft))
        assert code == 1
        assert f"{draft}/web.yaml:10:5: error M110 unknown field 'backendRfs'" in said
    assert held(server) == before
    assert run(server, "apply", str(draft / "nowhere"))[0] == 2
    empty = draft / "empty"
    empty.mkdir()
    assert run(server, "apply", str(empty))[0] == 2
    assert run(server, "apply", str(draft), "--into", "/elsewhere")[0] == 2


def test_what_an_envoy_refuses_is_taken_back_by_itself_and_no_request_fails(server: Cellway, draft: Path) -> None:
    before, now = held(server), edition(server)
    edit(draft, "gateway.yaml", GATEWAY + SECOND, server)
    edit(draft, "web.yaml", WEB.replace("EDIT", "with-a-busy-port"), server)
    with socket.socket() as busy:
        busy.bind((server.block.address(1), 8081))
        busy.listen()
        with Load(server.block.address(1), 8080, "web.example", rate=100, connections=2) as steady:
            code, said = run(server, "apply", str(draft), "--timeout", "30s")
        assert code == 1
        assert "taken back" in said
        assert "refused Listener" in said
        assert "gateway.yaml:7:1" in said, said
        assert (held(server), edition(server)) == (before, now)
        assert set(steady.outcomes) == {"200"}, steady.outcomes
        server.wait()
    refused, live = states(server)[0], states(server)[1]
    assert (bool(refused["refused"]), refused["live"], live["live"]) == (True, False, True)
    again, said = run(server, "apply", str(draft), "--timeout", "1s")
    assert (again, "it was refused before" in said, "is only sent again when an Envoy connects anew" in said) == (
        1,
        True,
        True,
    )
    edit(draft, "gateway.yaml", GATEWAY + SECOND.replace("8081", "8082"), server)
    code, said = run(server, "apply", str(draft), "-o", "json")
    assert (code, json.loads(said)["done"], edition(server)) == (0, True, "with-a-busy-port"), said
    assert run(server, "undo")[0] == 0
    assert edition(server) == now


def test_a_change_that_was_not_confirmed_is_taken_back_at_the_next_start(server: Cellway) -> None:
    """The server dies after it has replaced files and before all Envoys have taken them."""
    for text in ("pending", "first"):
        server.write("web.yaml", WEB.replace("EDIT", text))
        server.wait()
    before, now = held(server), edition(server)
    pending = server.state / "history" / "pending.json"
    server.kill()
    digests = {path.name: path.name for path in (server.state / "history" / "contents").iterdir()}
    name = str(server.folder / "web.yaml")
    old = next(
        one for one in digests if (server.state / "history" / "contents" / one).read_bytes() == before["web.yaml"]
    )
    other = next(one for one in digests if b"pending" in (server.state / "history" / "contents" / one).read_bytes())
    (server.folder / "web.yaml").write_bytes((server.state / "history" / "contents" / other).read_bytes())
    pending.write_text(json.dumps({"before": {name: old}, "after": {name: other}}), encoding="utf-8")
    os.utime(server.folder)
    server.start()
    assert (held(server), edition(server), pending.exists()) == (before, now, False)
