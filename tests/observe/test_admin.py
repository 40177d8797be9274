"""The admin API over ASGI: every route, and who is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from xds_server.compile import Compiled
from xds_server.explain.request import NotARequestError
from xds_server.observe.admin import admin_application, is_own_host
from xds_server.observe.cells_view import CellsShown
from xds_server.observe.explain_view import Question
from xds_server.observe.inspect_api import Inspection
from xds_server.observe.posts import Guard, Token, make_token
from xds_server.observe.proxies_view import Fleet
from xds_server.observe.usage import Report
from xds_server.releases.requests import Kind


@dataclass
class Fake:
    """A server in a state that a test chooses."""

    reason: str = ""
    waiting: str = ""
    waited: list[float] = field(default_factory=list)
    moved: list[Any] = field(default_factory=list)

    async def look(self) -> None:
        """Nothing is elsewhere."""

    async def objects(self, *, derived: bool) -> list[dict[str, Any]]:
        return [{"kind": "Gateway", "derived": derived}]

    def proxies(self) -> dict[str, Any]:
        return {"items": [], "synced": True, "missing": []}

    def diagnostics(self) -> list[dict[str, Any]]:
        return [{"code": "M110"}]

    def effective(self, cell: str, stage: str | None) -> list[dict[str, Any]] | None:
        return [{"cell": cell, "stage": stage}] if cell == "orders" else None

    def cells(self) -> CellsShown:
        return CellsShown(Compiled())

    async def move(self, kind: Kind, body: Any) -> tuple[int, dict[str, Any]]:
        self.moved.append((kind, body))
        return 200, {"moved": True}

    async def explain(self, question: Question) -> list[dict[str, Any]]:
        if question.stage == "nowhere":
            raise NotARequestError("there is no stage nowhere")
        request, narrower = question.request, [question.gateway, question.sender, question.stage]
        return [{"asked": [request.method, request.host, request.headers, *narrower]}]

    def inspection(self) -> Inspection:
        return Inspection(Compiled(), Fleet((), (), (), str))

    @property
    def changes(self) -> Fake:
        return self

    async def diff(self, body: Any) -> tuple[int, dict[str, Any]]:
        return 200, {"files": body["files"]}

    apply = undo = diff

    async def history(self) -> list[dict[str, Any]]:
        return [{"state": "0123456789ab"}]

    async def usage(self) -> Report:
        return Report((), {"acme/dev/front/east": 3, "acme/prod/front/east": 0})

    async def metrics(self) -> bytes:
        return b"cellway_build_info 1\n"

    def not_ready(self) -> str:
        return self.reason

    async def in_force(self, seconds: float) -> str:
        self.waited.append(seconds)
        return self.waiting


JSON = {"content-type": "application/json"}
TOKEN = Token(Path("/state/token"), "cellway-0123")
MOVE = JSON | {"authorization": "Bearer cellway-0123"}
HERE = Guard(loopback=True, token=TOKEN)


async def move(
    fake: Fake, headers: dict[str, str], body: str = '{"cell": "a"}', *, guard: Guard = HERE, path: str = "promote"
) -> int:
    transport = httpx.ASGITransport(app=admin_application(fake, guard))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.post(f"/api/v1/{path}", headers=headers, content=body)).status_code


async def test_a_promotion_is_asked_for_as_json() -> None:
    fake = Fake()
    assert await move(fake, MOVE) == 200
    assert fake.moved == [("promote", {"cell": "a"})]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (MOVE | {"origin": "http://evil.example"}, "{}", 403),
        (MOVE | {"sec-fetch-site": "cross-site"}, "{}", 403),
        ({"content-type": "text/plain"}, "{}", 415),
        (MOVE, "nothing", 400),
        (MOVE, "[]", 400),
        (MOVE, '{"a": "' + "x" * 70_000 + '"}', 400),
    ],
)
async def test_no_web_page_can_promote(headers: dict[str, str], body: str, status: int) -> None:
    fake = Fake()
    assert await move(fake, headers, body) == status
    assert fake.moved == []


async def test_no_more_of_a_body_is_read_than_may_be_there() -> None:
    fake, parts = Fake(), 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal parts
        while parts < 1000:
            parts += 1
            yield b" " * 16 * 1024

    transport = httpx.ASGITransport(admin_application(fake, HERE))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post("/api/v1/promote", headers=MOVE, content=body())
    assert (answer.status_code, fake.moved) == (400, [])
    assert parts == 5, "the first part that is too much"


async def test_nobody_promotes_from_another_machine() -> None:
    fake = Fake()
    assert await move(fake, MOVE, guard=Guard(loopback=False, token=TOKEN)) == 403
    assert fake.moved == []


@pytest.mark.parametrize("path", ["promote", "rollback", "diff", "apply", "undo"])
@pytest.mark.parametrize(
    "said",
    [{}, *({"authorization": one} for one in ("Bearer", "Bearer cellway-012", "Basic cellway-0123", "Bearer \u00e9"))],
)
async def test_a_connection_from_this_machine_is_not_enough(path: str, said: dict[str, str]) -> None:
    """Other users connect from here, and so does an Envoy for its clients, to a Backend that is the admin API."""
    fake = Fake()
    transport = httpx.ASGITransport(app=admin_application(fake, HERE))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:19001") as client:
        headers = {
            name.encode(): value.encode() for name, value in (JSON | said | {"x-forwarded-for": "192.0.2.1"}).items()
        }
        answer = await client.post(f"/api/v1/{path}", headers=headers, content='{"files": {}}')
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (answer.json()["tokenFile"], "cellway-0123" in answer.text) == ("/state/token", False)
    assert fake.moved == []


async def test_without_a_state_folder_nobody_has_a_token() -> None:
    fake = Fake()
    for path in ("promote", "diff", "apply", "undo"):
        assert await move(fake, MOVE, guard=Guard(loopback=True), path=path) == 503
    assert fake.moved == []


def test_a_token_is_new_at_each_start_and_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = make_token(tmp_path), make_token(tmp_path)
    assert first.word != second.word
    assert (second.file, second.file.read_text(encoding="utf-8")) == (tmp_path / "token", f"{second.word}\n")
    assert second.file.stat().st_mode & 0o777 == 0o600
    assert second.word not in repr(second)


async def test_files_may_be_many_and_the_same_guards_hold() -> None:
    body = json.dumps({"files": {"a.yaml": "x" * 70_000}})
    assert await move(Fake(), MOVE, body, path="diff") == 200
    assert await move(Fake(), MOVE | {"origin": "http://evil.example"}, body, path="diff") == 403
    assert await move(Fake(), MOVE, body, path="diff", guard=Guard(loopback=False, token=TOKEN)) == 403


async def ask(fake: Fake, path: str, host: str = "127.0.0.1:19001", method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app=admin_application(fake, HERE))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.request(method, path, headers={"Host": host})


async def test_views_are_json_with_items() -> None:
    assert (await ask(Fake(), "/api/v1/objects")).json() == {"items": [{"kind": "Gateway", "derived": False}]}
    assert (await ask(Fake(), "/api/v1/objects?derived")).json()["items"][0]["derived"]
    assert (await ask(Fake(), "/api/v1/diagnostics")).json() == {"items": [{"code": "M110"}]}
    assert (await ask(Fake(), "/api/v1/proxies")).json()["synced"]


async def test_a_request_is_explained() -> None:
    query = "method=PUT&url=http://a.example/&header=X-A:1&header=x-a:2&gateway=b/c&from=front&stage=dev"
    answer = await ask(Fake(), f"/api/v1/explain?{query}")
    assert answer.json() == {"items": [{"asked": ["PUT", "a.example", {"x-a": ["1", "2"]}, "b/c", "front", "dev"]}]}
    unknown = await ask(Fake(), "/api/v1/explain?url=http://a.example/&stage=nowhere")
    assert (unknown.status_code, unknown.json()["message"]) == (400, "there is no stage nowhere")
    refused = await ask(Fake(), "/api/v1/explain?url=nothing")
    assert (refused.status_code, "no URL" in refused.json()["message"]) == (400, True)


async def test_effective_settings_are_those_of_a_cell() -> None:
    answer = await ask(Fake(), "/api/v1/cells/orders/effective?stage=dev")
    assert answer.json() == {"items": [{"cell": "orders", "stage": "dev"}]}
    answer = await ask(Fake(), "/api/v1/cells/nowhere/effective")
    assert (answer.status_code, answer.json()) == (404, {"message": "there is no cell nowhere"})


async def test_usage_may_be_of_one_stage() -> None:
    assert (await ask(Fake(), "/api/v1/usage?stage=dev")).json() == {"items": [], "refused": {"acme/dev/front/east": 3}}


async def test_network_policies_are_of_stages_that_there_are() -> None:
    assert (await ask(Fake(), "/api/v1/network-policies")).json() == {"items": [], "notes": []}
    assert (await ask(Fake(), "/api/v1/network-policies?stage=moon")).status_code == 404
    assert (await ask(Fake(), "/api/v1/network-policies?xdsPort=many")).status_code == 400


async def test_the_map_of_cells_has_nodes_and_edges() -> None:
    assert (await ask(Fake(), "/api/v1/topology")).json() == {"nodes": [], "edges": []}


async def test_metrics_are_prometheus_text() -> None:
    answer = await ask(Fake(), "/metrics")
    assert (answer.status_code, answer.content) == (200, b"cellway_build_info 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(("reason", "status"), [("", 200), ("not loaded yet", 503)])
async def test_readyz_says_why_not(reason: str, status: int) -> None:
    answer = await ask(Fake(reason), "/readyz")
    assert (answer.status_code, answer.text) == (status, f"{reason or 'ok'}\n")
    assert (await ask(Fake(reason), "/livez")).status_code == 200


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 10.0), ("?timeout=500ms", 0.5), ("?timeout=1m", 60.0), ("?timeout=24h", 300.0)]
)
async def test_wait_takes_a_duration(query: str, seconds: float) -> None:
    fake = Fake()
    answer = await ask(fake, f"/api/v1/wait{query}")
    assert (answer.status_code, fake.waited) == (200, [seconds])


async def test_wait_says_why_in_vain() -> None:
    answer = await ask(Fake(waiting="no Envoy of default/edge is connected"), "/api/v1/wait")
    assert (answer.status_code, answer.json()["message"]) == (504, "no Envoy of default/edge is connected")
    assert (await ask(Fake(), "/api/v1/wait?timeout=soon")).status_code == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:19001", "127.0.0.1.nip.example", "10.0.0.1", "", "[::2]:1"]
)
async def test_names_that_a_web_page_may_choose_are_refused(host: str) -> None:
    assert (await ask(Fake(), "/api/v1/objects", host)).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:19001", "127.9.8.7:1", "[::1]:19001", "[::1]"])
async def test_loopback_is_served(host: str) -> None:
    assert (await ask(Fake(), "/api/v1/objects", host)).status_code == 200


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/api/v1/objects", "localhost"),
        ("/api/v1/cells/%3Cscript%3E/effective", "localhost"),
        ("/api/v1/explain?url=%3Cscript%3E", "localhost"),
        ("/%3Cscript%3E", "localhost"),
        ("/metrics", "localhost"),
        ("/readyz", "localhost"),
        ("/api/v1/objects", "evil.example"),
    ],
)
async def test_no_answer_is_a_page(path: str, host: str) -> None:
    answer = await ask(Fake("<script>"), path, host)
    assert answer.headers["content-type"].partition(";")[0] in ("application/json", "text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_beyond_loopback_every_address_is_right_and_no_name() -> None:
    assert is_own_host("10.0.0.1:19001", loopback=False)
    assert not is_own_host("evil.example", loopback=False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(method: str) -> None:
    assert (await ask(Fake(), "/api/v1/objects", method=method)).status_code == 405
