"""What a server leaves for the next one: a start with broken, missing or foreign files serves what was in force."""

from __future__ import annotations

import gc
import hashlib
import itertools
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.compile import Options
from xds_server.load.directory import Loaded
from xds_server.load.objects import Objects
from xds_server.reload import Policies, Source, reload
from xds_server.saved.keeper import Keeper
from xds_server.saved.store import Index, Kept, Store
from xds_server.types import Key

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{matches: [{path: {value: /PATH}}], filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]}]
"""


class World:
    """A policy folder, a state folder, and servers one after the other. Each sees what the one before left."""

    def __init__(self, folder: Path) -> None:
        self.policies, self.state = folder / "policies", folder / "state"
        self.policies.mkdir()
        self.problems: list[str] = []

    def write(self, name: str, text: str) -> None:
        (self.policies / name).write_text(text, encoding="utf-8")

    async def server(self, *edits: tuple[str, str]) -> Policies:
        """Start one, with the folder as it is; then make each edit and reload. Ends without a word, as if killed."""
        keeper = Keeper(self.state, (self.policies,))
        saved = keeper.restore()
        if isinstance(saved, str):
            self.problems += [saved] if saved else []
        seconds = itertools.count()
        source = Source(
            (self.policies,), Options(), lambda: next(seconds), saved=saved if isinstance(saved, tuple) else None
        )
        now, _ = reload(Policies(), source)
        for name, text in (("", ""), *edits):
            if name:
                self.write(name, text)
                now, _ = reload(now, source)
            if now.loaded is not None:
                keeper.keep(now.loaded, now.objects)
                await keeper.write(self.problems.append)
        return now


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write("edge.yaml", GATEWAY)
    made.write("web.yaml", ROUTE.replace("PATH", "one"))
    return made


def paths(policies: Policies) -> list[str]:
    return [
        str(one.document["spec"]["rules"][0]["matches"][0]["path"]["value"])
        for one in policies.objects.objects
        if one.key.kind == "HTTPRoute"
    ]


async def test_a_file_that_is_broken_at_the_start_counts_as_it_did(world: World) -> None:
    before = await world.server()
    world.write("web.yaml", "rules: [")
    now = await world.server()
    assert paths(now) == paths(before) == ["/one"]
    assert now.compiled.snapshots["default/edge"].versions == before.compiled.snapshots["default/edge"].versions
    assert {str(one.span) for one in now.diagnostics} == {f"{world.policies}/web.yaml:2:1"}
    world.write("edge.yaml", "still: [")
    assert paths(await world.server()) == ["/one"]


async def test_an_object_with_a_mistake_is_in_force_as_it_was_before_the_mistake_servers_ago(world: World) -> None:
    await world.server(("web.yaml", ROUTE.replace("PATH", "two")), ("web.yaml", ROUTE.replace("rules:", "rulez:")))
    assert paths(await world.server()) == ["/two"]
    assert paths(await world.server(("other.yaml", GATEWAY.replace("edge", "second")))) == ["/two"]
    now = await world.server(("web.yaml", ROUTE.replace("PATH", "three")))
    assert (paths(now), now.alarm) == (["/three"], "")


async def test_what_there_was_no_time_to_write_is_not_forgotten(world: World) -> None:
    await world.server()
    keeper = Keeper(world.state, (world.policies,))
    saved = keeper.restore()
    assert isinstance(saved, tuple)
    source = Source((world.policies,), Options(), lambda: 0.0, saved=saved)
    now, _ = reload(Policies(), source)
    for text in (ROUTE.replace("PATH", "strict"), "rules: ["):
        world.write("web.yaml", text)
        now, _ = reload(now, source)
        assert now.loaded is not None
        keeper.keep(now.loaded, now.objects)
    await keeper.write(world.problems.append)
    assert paths(now) == paths(await world.server()) == ["/strict"]


async def test_what_was_deleted_meanwhile_is_gone(world: World) -> None:
    await world.server()
    (world.policies / "web.yaml").unlink()
    assert paths(await world.server()) == []


@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_without_its_folder_a_server_serves_what_was_in_force_and_says_so(world: World, how: str) -> None:
    before = await world.server()
    for path in list(world.policies.iterdir()):
        path.unlink()
    if how == "gone":
        world.policies.rmdir()
    for _ in range(2):
        now = await world.server()
        assert "what was in force when the server ended is served" in now.alarm
        assert now.compiled.snapshots["default/edge"].versions == before.compiled.snapshots["default/edge"].versions
    world.policies.mkdir(exist_ok=True)
    healed = await world.server(("edge.yaml", GATEWAY), ("edge.yaml", f"{GATEWAY}# a moment later"))
    assert (healed.alarm, paths(healed)) == ("", [])


async def test_another_folder_begins_anew(world: World, tmp_path: Path) -> None:
    await world.server()
    other = tmp_path / "other"
    other.mkdir()
    world.policies = other
    world.write("edge.yaml", GATEWAY)
    now = await world.server()
    assert (paths(now), now.alarm) == ([], "")


async def test_what_it_writes_is_for_its_user_only_and_no_more_than_needed(world: World) -> None:
    for path in "abc":
        await world.server(("web.yaml", ROUTE.replace("PATH", path)))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in world.state.iterdir()}
    assert (modes, stat.S_IMODE(world.state.stat().st_mode)) == ({0o600}, 0o700)
    assert len(list(world.state.iterdir())) == 3  # two files and the index


async def test_where_nothing_can_be_written_it_is_said_once_and_again_when_it_can(world: World) -> None:
    world.state.write_text("in the way")
    await world.server(("web.yaml", ROUTE))
    assert len(world.problems) == 2  # it cannot be read either
    keeper = Keeper(world.state, (world.policies,))
    keeper.keep(*_loaded(world))
    await keeper.write(world.problems.append)
    world.state.unlink()
    await keeper.write(world.problems.append)
    assert world.problems[-2:] == [world.problems[1], ""]
    assert paths(await world.server()) == ["/PATH"]


def _loaded(world: World) -> tuple[Loaded, Objects]:
    now, _ = reload(Policies(), Source((world.policies,), Options(), lambda: 0.0))
    assert now.loaded is not None
    return now.loaded, now.objects


@settings(max_examples=100)
@given(st.data())
def test_a_folder_that_anything_happened_to_is_known_as_it_was_or_not_at_all(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "in-force"
        contents = {hashlib.sha256(text).hexdigest(): text for text in (b"one: 1\n", b"two: 2\n", b"old: 0\n")}
        one, two, old = contents
        index = Index({"a": one, "b": two}, {".": 2}, (Kept(Key("", "Secret", "default", "s"), "a", old),))
        Store(place).write(index, contents)
        for _ in range(data.draw(st.integers(1, 3))):
            _spoil(data, data.draw(st.sampled_from(sorted(place.iterdir()))))
        found = Store(place).read()
        assert isinstance(found, str) or found == (index, contents)


def _spoil(data: st.DataObject, path: Path) -> None:
    text = path.read_bytes()
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    path.write_bytes(text[:start] + data.draw(st.binary(max_size=8)) + text[start + length :])


async def test_nothing_is_looked_through_for_garbage_while_it_is_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("a.yaml", "---".join([GATEWAY, *(ROUTE.replace("web", f"web-{number}") for number in range(200))]))
    await world.server()
    seen: list[str] = []

    def look(phase: str, _: dict[str, int]) -> None:
        seen.append(phase)

    gc.callbacks.append(look)
    try:
        gc.collect()
        before = len(seen)
        assert isinstance(Keeper(world.state, (world.policies,)).restore(), tuple)
        assert len(seen) <= before + 2, "at most once, when all of it is read"
    finally:
        gc.callbacks.remove(look)
