"""Changes as transactions, over real folders and real reloads; only what Envoys say is given."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.changes.test_comparison import EDGE, ROUTE
from xds_server.changes.office import Engine, Office
from xds_server.compile import Options
from xds_server.reload import Policies, Source, reload


class Server:
    """What the office needs of a server, without Envoys: `says` is what waiting for them ends with, again and again."""

    def __init__(self, state: Path, *folders: Path) -> None:
        self.state, self.folders, self.policies = state, folders, Policies()
        self.says: list[str] = []
        self.alarms: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.office = Office(
            Engine(
                folders,
                lambda: self.policies,
                Options,
                self.reload,
                self._exchange,
                self._in_force,
                lambda: b"k",
                lambda: "2026-01-01T00:00:00Z",
            )
        )
        self.office.open(state)

    async def reload(self) -> None:
        self._read(confirmed=False)

    def _read(self, *, confirmed: bool) -> None:
        source = Source(self.folders, Options(), lambda: 1e9)
        self.policies, _ = reload(self.policies, source, confirmed=confirmed)
        self.office.note(self.policies)

    async def _exchange(self, work: Callable[[], object]) -> None:
        await asyncio.to_thread(work)
        self._read(confirmed=True)
        if self.alarms and (alarm := self.alarms.pop(0)):
            self.policies = replace(self.policies, alarm=alarm)

    async def _in_force(self, seconds: float) -> str:
        del seconds
        self.meanwhile()
        return self.says.pop(0) if self.says else ""

    async def apply(self, **body: Any) -> tuple[int, dict[str, Any]]:
        return await self.office.apply({"root": "draft", **body})

    async def by(self) -> list[str]:
        return [one["by"] for one in await self.office.history()]


LATER = ROUTE.replace("3s", "5s")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "edge.yaml").write_text(EDGE, encoding="utf-8")
    (folder / "web.yaml").write_text(ROUTE, encoding="utf-8")
    (folder / "README").write_text("not a policy", encoding="utf-8")
    return Server(tmp_path / "history", folder)


def pending(server: Server) -> bool:
    return (server.state / "pending.json").exists()


def held(server: Server) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in server.folders[0].iterdir()}


async def test_a_change_is_made_as_a_whole(server: Server) -> None:
    await server.reload()
    status, answer = await server.apply(files={"all.yaml": EDGE + LATER})
    assert (status, answer["done"]) == (200, True)
    assert held(server) == {"all.yaml": EDGE + LATER, "README": "not a policy"}
    assert [one["object"] for one in answer["objects"]] == ["HTTPRoute default/web"], (
        "where it is written is no difference"
    )
    assert await server.by() == ["apply", "start"]
    again, answer = await server.apply(files={"all.yaml": EDGE + LATER})
    assert (again, answer["files"], answer["same"]) == (200, [], True)


async def test_what_is_not_taken_in_time_is_taken_back(server: Server) -> None:
    before = held(server)
    server.says = ["", "an Envoy refused it", ""]
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, answer["rolledBack"], answer["message"]) == (409, True, "an Envoy refused it")
    assert held(server) == before
    first, second = await server.office.history()
    assert (first["refused"], second["live"]) == ("an Envoy refused it", True)
    status, answer = await server.office.undo({})
    assert (status, "only 0 changes" in answer["message"]) == (400, True)


async def test_without_waiting_nobody_is_asked(server: Server) -> None:
    server.says = ["never asked"]
    assert (await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE}, wait=False))[0] == 200
    assert server.says == ["never asked"]


@pytest.mark.parametrize("wait", [True, False])
async def test_what_the_server_does_not_take_is_not_told_as_live(server: Server, wait: bool) -> None:
    before = held(server)
    server.alarms = ["too much"]
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE}, wait=wait)
    assert (status, answer["rolledBack"], answer["message"]) == (409, True, "too much")
    assert held(server) == before
    assert not pending(server)


async def half_changed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that ends midway, as if the server were killed."""
    real = Path.replace

    def renamed(path: Path, to: str | Path) -> Path:
        if Path(to).parent == server.folders[0] and held(server)["edge.yaml"] != EDGE:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", renamed)
        status, answer = await server.apply(files={"edge.yaml": EDGE + "# new\n", "web.yaml": LATER})
    assert (status, "half changed" in answer["message"]) == (409, True)
    assert pending(server)


async def test_what_cannot_be_put_back_is_put_back_by_the_next_start(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(server)
    await half_changed(server, monkeypatch)
    assert held(server) != before
    Server(server.state, *server.folders)
    assert (held(server), pending(server)) == (before, False)


async def test_a_server_with_other_folders_starts_and_leaves_it_to_one_that_has_them_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = held(server)
    await half_changed(server, monkeypatch)
    halfway, folder, gone = held(server), tmp_path / "other", tmp_path / "away"
    folder.mkdir()
    (folder / "edge.yaml").write_text(EDGE, encoding="utf-8")
    for _ in range(2):
        other = Server(server.state, folder)
        await other.reload()
    assert (held(server), pending(server)) == (halfway, False)
    status, _ = await other.apply(files={"edge.yaml": EDGE, "web.yaml": LATER})
    assert (status, sorted(held(other))) == (200, ["edge.yaml", "web.yaml"])
    server.folders[0].rename(gone)
    Server(server.state, *server.folders)
    assert not server.folders[0].exists(), "nothing is made in a folder that is not there"
    gone.rename(server.folders[0])
    Server(server.state, folder, *server.folders)
    assert (held(server), sorted(held(other))) == (before, ["edge.yaml", "web.yaml"])
    (folder / "web.yaml").unlink()
    Server(server.state, folder, *server.folders)
    assert sorted(held(other)) == ["edge.yaml"], "it is done once"


async def test_any_other_failure_puts_the_files_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = held(server), server._read
    calls: list[bool] = []

    def failing(*, confirmed: bool) -> None:
        calls.append(confirmed)
        if calls.count(True) == 1 and confirmed:
            raise ValueError("a bug")
        real(confirmed=confirmed)

    monkeypatch.setattr(server, "_read", failing)
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, answer["message"]) == (409, "nothing was changed: a bug")
    assert (held(server), pending(server)) == (before, False)


async def test_what_is_refused_already_is_no_ground_to_judge_on(server: Server) -> None:
    before = held(server)
    server.says = ["somebody refuses what is live"]
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, "somebody refuses what is live" in answer["message"]) == (409, True)
    assert held(server) == before


async def test_who_edits_meanwhile_is_not_overwritten(server: Server) -> None:
    edited = server.folders[0] / "web.yaml"
    server.meanwhile = lambda: edited.write_text(ROUTE + "# by hand\n", encoding="utf-8")
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, "edited meanwhile" in answer["message"]) == (409, True)
    assert held(server)["web.yaml"].endswith("# by hand\n")
    server.meanwhile = lambda: None
    new = server.folders[0] / "new.yaml"
    await server.reload()
    new.write_text("# nothing yet\n", encoding="utf-8")
    assert (await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE}))[0] == 200
    assert not new.exists(), "it was there before the change began"


async def test_an_edit_after_the_change_is_not_taken_back_with_it(server: Server) -> None:
    calls: list[int] = []

    def edit() -> None:
        calls.append(1)
        if len(calls) == 2:
            (server.folders[0] / "web.yaml").write_text(LATER + "# by hand\n", encoding="utf-8")

    server.meanwhile, server.says = edit, ["", "an Envoy refused it"]
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, answer["rolledBack"]) == (409, False)
    assert "it cannot be taken back" in answer["message"]
    assert held(server)["web.yaml"].endswith("# by hand\n")


async def test_one_change_at_a_time(server: Server) -> None:
    body = {"files": {"web.yaml": LATER, "edge.yaml": EDGE}}
    answers = await asyncio.gather(server.apply(**body), server.apply(**body))
    assert sorted(status for status, _ in answers) == [200, 409]
    assert {answer.get("message") for _, answer in answers} == {None, "another change is under way"}


async def test_a_broken_file_can_be_mended_and_the_mending_taken_back(server: Server) -> None:
    await server.reload()
    (server.folders[0] / "web.yaml").write_text(ROUTE + "  : [\n", encoding="utf-8")
    server.says = ["", "an Envoy refused it", ""]
    status, answer = await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE})
    assert (status, answer["rolledBack"]) == (409, True)
    assert held(server)["web.yaml"].endswith("  : [\n")
    assert (await server.apply(files={"web.yaml": LATER, "edge.yaml": EDGE}))[0] == 200


async def test_of_several_folders_one_is_meant(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, name, text in ((one, "edge.yaml", EDGE), (two, "web.yaml", ROUTE)):
        folder.mkdir()
        (folder / name).write_text(text, encoding="utf-8")
    server = Server(tmp_path / "history", one, two)
    body = {"files": {"web.yaml": LATER}}
    status, answer = await server.apply(**body)
    assert (status, "--into" in answer["message"]) == (400, True)
    assert (await server.apply(**body, into=str(two)))[0] == 200
    assert ((one / "edge.yaml").read_text(encoding="utf-8"), (two / "web.yaml").read_text(encoding="utf-8")) == (
        EDGE,
        LATER,
    )
    assert (await server.office.undo({}))[0] == 200
    assert (two / "web.yaml").read_text(encoding="utf-8") == ROUTE


@pytest.mark.parametrize(
    "name",
    [
        "../out.yaml",
        "/etc/x.yaml",
        "a/../../x.yaml",
        ".hidden.yaml",
        "a/.git/x.yaml",
        "x.sh",
        "a//x.yaml",
        "",
        "x\n.yaml",
    ],
)
async def test_no_name_leads_out_of_the_folder(server: Server, name: str) -> None:
    before = held(server)
    status, _ = await server.apply(files={name: EDGE})
    assert (status, held(server)) == (400, before)


async def test_a_server_that_keeps_nothing_changes_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "history", tmp_path)
    keeping_nothing = Office(server.office._engine)
    status, answer = await keeping_nothing.apply({"files": {"web.yaml": ROUTE}})
    assert (status, "--state-dir" in answer["message"]) == (503, True)
