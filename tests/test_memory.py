"""Compiling with a memory gives what compiling without one gives, whatever was compiled before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases.reading import read_cases
from tests.docs.pages import PAGES, blocks
from tests.documents import objects_of, parse
from tests.test_properties import FOLDERS, ROOT, files_of
from xds_server.attach.hostnames import intersect
from xds_server.attach.index import unique
from xds_server.cells.releases import NO_RELEASES
from xds_server.cells.stages import Memory as StagesMemory
from xds_server.cells.stages import _age, _lower, _speaks_of_cells, lower_stages
from xds_server.compile import Compiled, Memory, Options, compile_objects
from xds_server.load.block import Scalars, read_block
from xds_server.load.document import DEFAULT_LIMITS
from xds_server.load.objects import Objects, parse_documents_of
from xds_server.load.places import mark_of
from xds_server.load.stretches import Parsed
from xds_server.load.yaml import _read_yaml, parse_file
from xds_server.memory import Ranking, difference
from xds_server.model.object import Object
from xds_server.parts import Layers
from xds_server.types import CELLWAY_GROUP

Files = dict[str, list[str]]
_CUT = re.compile(r"^---\s*?\n", re.MULTILINE)


def documents(text: str) -> list[str]:
    return [one for one in _CUT.split(text.replace("ADDR", "127.0.1")) if one.strip()]


WORLD = documents((ROOT / "tests" / "cases" / "world" / "objects.yaml").read_text(encoding="utf-8"))
GROUPS = [documents(case.given) for _, case in read_cases() if case.given]
GROUPS += [documents(text) for page in PAGES for text in blocks(page, "yaml") if "kind:" in text]
GROUPS += [documents(text) for folder in FOLDERS for _, text in files_of(folder)]
NAMES = ("edge", "web", "shop", "echo-1", "default", "shop.example", "a.example", "*.example", "Exact", "PathPrefix")


def changed(text: str, random: Random) -> str:
    """A document with a small change, which may break it."""
    lines = text.splitlines()
    at = random.randrange(len(lines))
    what = random.randrange(6)
    if what == 0:
        lines[at] = re.sub(r"\d", lambda _: str(random.randrange(10)), lines[at])
    elif what == 1:
        del lines[at]
    elif what == 2:
        lines.insert(0, "# moved")
    elif what == 3:
        lines[at] = re.sub(r"\b(edge|web|shop|echo-\d|default)\b", lambda _: random.choice(NAMES), lines[at], count=1)
    elif what == 4:
        lines = [line.replace("name: web", f"name: web-{random.randrange(3)}", 1) for line in lines]
    else:
        lines = [line.replace("HTTPRoute", "GRPCRoute") for line in lines]
    return "\n".join(lines) + "\n"


def step(files: Files, random: Random) -> None:
    """One thing that people do to a set of files."""
    name = random.choice(list(files))
    what, texts = random.randrange(8), files[name]
    if what < 4 and texts:
        at = random.randrange(len(texts))
        texts[at] = changed(texts[at], random)
    elif what == 4 and texts:
        del texts[random.randrange(len(texts))]
    elif what == 5 and texts:
        random.choice(list(files.values())).append(random.choice(texts))
    elif what == 6:
        files[f"file-{random.randrange(4)}.yaml"] = list(random.choice(GROUPS))
    else:
        random.shuffle(texts)


class Reader:
    """Objects of files: the very same ones again for a text in the same place."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Object, ...]] = {}

    def read(self, files: Files) -> list[Object]:
        found: list[Object] = []
        for name, texts in sorted(files.items()):
            above = ""
            for text in texts:
                place = (name, "\n" * above.count("\n") + text)
                if place not in self._known:
                    self._known[place] = parse(place[1], name)[0]
                found += self._known[place]
                above += text + "---\n"
        return found


def shown(compiled: Compiled) -> Any:
    """All that follows from a compilation, as values that can be compared."""
    resources = {
        (gateway, one.type_url, one.name): (one, one.origins)
        for gateway, snapshot in compiled.snapshots.items()
        for named in snapshot.resources.values()
        for one in named.values()
    }
    versions = {name: (snapshot.versions, snapshot.hosts) for name, snapshot in compiled.snapshots.items()}
    lowered = [(item.key, item.origins) for item in compiled.lowered]
    return {
        "resources": resources,
        "versions": versions,
        "statuses": compiled.statuses,
        "diagnostics": compiled.diagnostics,
        "wanted": sorted(compiled.wanted),
        "gateways": compiled.gateways,
        "lowered": lowered,
        "objects": [id(item) for item in compiled.objects],
    }


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_memory_changes_nothing(random: Random, steps: int) -> None:
    files: Files = {"world.yaml": list(WORLD)}
    files |= {f"file-{number}.yaml": list(random.choice(GROUPS)) for number in range(random.randrange(1, 4))}
    memory, reader, options = Memory(), Reader(), Options()
    for _ in range(steps):
        objects = reader.read(files)
        warm, cold = shown(compile_objects(objects, options, memory=memory)), shown(compile_objects(objects, options))
        for name, value in cold.items():
            assert warm[name] == value, name
        for _ in range(random.randrange(1, 3)):
            step(files, random)


def cells_of(group: Iterable[str]) -> set[str]:
    """The names of the cells in documents."""
    found = [item for text in group for item in parse(text)[0]]
    return {item.name for item in found if (item.key.group, item.key.kind) == (CELLWAY_GROUP, "Cell")}


CELLS = [group for group in GROUPS if any("kind: Cell\n" in text for text in group) and cells_of(group)]


def moved(text: str, places: list[str], random: Random) -> str:
    """A document in another namespace."""
    place = f"namespace: {random.choice(places)}"
    text = re.sub(r"^metadata:\n(  namespace: \S+\n)?", f"metadata:\n  {place}\n", text, count=1, flags=re.MULTILINE)
    return re.sub(r"^metadata: \{(namespace: [^,}]+, )?", f"metadata: {{{place}, ", text, count=1, flags=re.MULTILINE)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_what_lowering_passes_over_is_what_it_would_not_have_changed(random: Random, steps: int) -> None:
    cells = random.choice(CELLS)
    places = sorted({"default", "edge"} | cells_of(cells))
    files: Files = {"world.yaml": list(WORLD), "cells.yaml": list(cells), "routes.yaml": list(random.choice(GROUPS))}
    memory, reader = StagesMemory(), Reader()
    for _ in range(steps):
        objects = unique(reader.read(files))[0]
        split, whole = lower_stages(objects, memory=memory), _lower(sorted(objects, key=_age), NO_RELEASES, None)
        # Where nobody speaks of cells nothing is lowered at all: attachment sees routes with errors then, too.
        for one, other in zip(split, whole, strict=True) if any(map(_speaks_of_cells, objects)) else ():
            assert sorted(map(_seen, one.objects)) == sorted(map(_seen, other.objects))
            assert (one.statuses, one.diagnostics, one.made) == (other.statuses, other.diagnostics, other.made)
            assert (one.settings, one.gateways) == (other.settings, other.gateways)
        step(files, random)
        texts = files[random.choice(list(files))]
        for at in random.sample(range(len(texts)), min(2, len(texts))):
            texts[at] = moved(texts[at], places, random)


def _seen(item: Object) -> str:
    return repr((item.key, item.origins, item.meta, item.broken, item.kept, item.spec, item.document))


OUTSIDE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  cors: {allowOrigins: ["https://app.example"]}
"""


def test_routes_backends_and_policies_outside_cells_are_passed_over() -> None:
    memory, outside = StagesMemory(), [*objects_of(OUTSIDE), *objects_of("---\n".join(WORLD))]
    lower_stages([*outside, *objects_of("---\n".join(CELLS[0]), "cells.yaml")], memory=memory)
    assert {item.key.kind for item in memory.apart.bound.items} == {"HTTPRoute", "SecurityPolicy"}
    assert {item.key.kind for item in memory.apart.leading.items} == {"Backend", "Service", "EndpointSlice"}
    assert not {item.key for item in memory.apart.rest.items} & {item.key for item in memory.apart.bound.items}


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_objects_are_the_same_in_every_way_to_read_them(random: Random, steps: int) -> None:
    files: Files = {"a.yaml": list(WORLD[:6]), "b.yaml": list(random.choice(GROUPS))}
    last: Objects | None = None
    parsed: dict[str, Parsed] = {}
    for _ in range(steps):
        read = {name: parse_file(name, "---\n".join(texts).encode()) for name, texts in files.items()}
        parsed = {
            name: parse_file(name, "---\n".join(texts).encode(), earlier=parsed.get(name))
            for name, texts in sorted(files.items())
        }
        assert {name: _values(one) for name, one in parsed.items()} == {
            name: _values(one) for name, one in read.items()
        }
        documents = tuple(document for one in parsed.values() for document in one.documents)
        broken = tuple(document for one in parsed.values() for document in one.broken)
        short = parse_documents_of(documents, broken, last)
        long = parse_documents_of(documents, broken, replace(last, by_key=Layers()) if last else None)
        for one, other in ((short, long), (long, short)):
            assert _told(one) == _told(other)
        last = short
        step(files, random)


PLAIN = [text for group in [*GROUPS, WORLD] for text in group]
PIECES = [
    "a: ",
    "- ",
    "'",
    '"',
    ", ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    " #",
    "\n",
    "\n  ",
    "~",
    "on",
    "1",
    "&a ",
    "*a",
    "|",
    "\\",
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(PLAIN),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(PIECES)), max_size=3),
)
def test_the_reader_of_plain_yaml_gives_what_the_whole_one_gives(
    text: str, block: bool, changes: list[tuple[int, str]]
) -> None:
    if block:
        text = yaml.safe_dump(yaml.safe_load(text), sort_keys=False)
    for at, piece in changes:
        place = at % (len(text) + 1)
        text = text[:place] + piece + text[place + at % 2 :]
    found = read_block(text, DEFAULT_LIMITS, Scalars())
    whole = _read_yaml(text, DEFAULT_LIMITS)
    if found is not None:
        assert not whole.faults
        (item,) = whole.items
        assert (repr(item.value), whole.nodes, mark_of(item.tree)) == (repr(found.value), found.nodes, found.mark)


def test_what_is_written_plainly_is_read_plainly() -> None:
    assert sum(read_block(text, DEFAULT_LIMITS, Scalars()) is not None for text in PLAIN) > len(PLAIN) * 0.9


def _values(parsed: Parsed) -> Any:
    documents = [(one.index, one.value, one.positions) for one in (*parsed.documents, *parsed.broken)]
    return documents, len(parsed.broken), parsed.diagnostics, parsed.failed


def _told(objects: Objects) -> Any:
    shown = [(one.key, one.meta, one.spec, one.broken, one.source) for one in objects.objects]
    return shown, objects.diagnostics, objects.kept, [id(one) for one in objects.marked]


HOSTS = st.sampled_from(["*", "*.example", "*.a.example", "a.example", "b.a.example", "*.b.a.example", "other"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(HOSTS, min_size=1, max_size=2, unique=True)), max_size=6))
def test_hosts_belong_to_the_kind_of_the_oldest_route(routes: list[tuple[bool, list[str]]]) -> None:
    compiled = compile_objects(objects_of(_shared(routes)), Options())
    kept: list[tuple[str, list[str]]] = []
    for number, (grpc, hosts) in enumerate(routes):
        kind = "GRPCRoute" if grpc else "HTTPRoute"
        free = not any(kind != other and intersect(a, b) for other, taken in kept for a in taken for b in hosts)
        kept += [(kind, hosts)] if free else []
        status = next(one for key, one in compiled.statuses.items() if (key.kind, key.name) == (kind, f"r{number}"))
        assert status.parents[0].conditions[0].status == free


ROUTES = st.lists(st.tuples(st.booleans(), st.lists(HOSTS, min_size=1, max_size=2, unique=True)), max_size=5)


@settings(max_examples=30, deadline=None)
@given(st.lists(ROUTES, min_size=2, max_size=4))
def test_hosts_belong_to_the_oldest_whoever_had_them_before(steps: list[list[tuple[bool, list[str]]]]) -> None:
    memory, reader, options = Memory(), Reader(), Options()
    for routes in steps:
        objects = reader.read({f"{at}.yaml": [text] for at, text in enumerate(_shared(routes).split("---\n"))})
        assert shown(compile_objects(objects, options, memory=memory)) == shown(compile_objects(objects, options))


def _shared(routes: Iterable[tuple[bool, list[str]]]) -> str:
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        "spec: {gatewayClassName: cellway, listeners: [{name: http, protocol: HTTP, port: 8080}]}\n"
    )
    texts = [gateway]
    for number, (grpc, hosts) in enumerate(routes):
        names = f"hostnames: {hosts}".replace("'", '"') if "*" not in hosts else "hostnames: []"
        texts.append(
            f"apiVersion: gateway.networking.k8s.io/v1\nkind: {'GRPCRoute' if grpc else 'HTTPRoute'}\n"
            f"metadata: {{name: r{number}}}\nspec: {{parentRefs: [{{name: edge}}], {names}, rules: [{{}}]}}\n"
        )
    return "---\n".join(texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), unique=True), st.lists(st.integers(0, 12), unique=True))
def test_what_is_different_is_what_has_gone_and_what_has_come(last: list[int], now: list[int]) -> None:
    made = {number: [number] for number in {*last, *now}}  # lists, which are told apart by identity alone
    found = difference([made[one] for one in last], [made[one] for one in now])
    assert sorted(found.gone) == [[one] for one in sorted({*last} - {*now})]
    assert sorted(found.came) == [[one] for one in sorted({*now} - {*last})]
    ranking: Ranking[list[int]] = Ranking(lambda one: one[0])
    ranking.fill(made[one] for one in last)
    ranking.change(found.gone, found.came)
    assert ranking.items == tuple([one] for one in sorted(now))
