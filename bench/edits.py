"""What does one changed route cost, and what does the first load? Without any Envoy.

In: `--routes`, sizes of worlds; `--per-file`, routes in a file; `--cells`: with the cells of `policies/shop` beside them. Out: a
table of the cost of one edit (read, compiled, as a snapshot) by stage for each size, its ratio to the smallest world; the cold
load against PyYAML's C composer alone on the same bytes; memory a route. Nothing is asserted. Each size has a process of its own,
which edit in turns, and all times are those of its processor, so that others on the machine hardly count.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from bench.results import keep, option
from bench.workers import memory, worker
from bench.world import PER_FILE, write_routes, write_world
from xds_server.compile import Options
from xds_server.load.directory import load_paths
from xds_server.load.objects import parse_documents_of
from xds_server.reload import Policies, Source, reload

EDITS = 40
REST = 4.0
"""Seconds from the first load to the edits: files that were only just written are read again with each."""
_SHOP = Path(__file__).parent.parent / "policies" / "shop"
COLD = ("cold", "load", "objects", "compose", "compose without collector")
STAGES = ("load", "parse", "attach", "translate", "snapshot")


def compose_all(folder: Path) -> float:
    """Seconds that PyYAML's C composer takes for the nodes of all files, which are kept as documents are."""
    texts = [path.read_bytes() for path in sorted(folder.rglob("*.yaml"))]
    began = time.process_time()
    nodes = [node for text in texts for node in yaml.compose_all(text, Loader=yaml.CSafeLoader)]
    seconds = time.process_time() - began
    assert nodes
    return seconds


def obey(folder: Path, routes: int, per_file: int, *, cells: bool) -> None:
    """One world in a folder: its first load, and then what lines on standard input order."""
    write_world(folder, routes, per_file=per_file)
    if cells:
        shutil.copytree(_SHOP, folder / "shop")
    source = Source((folder,), Options(), time.process_time)
    before = memory()
    began = time.process_time()
    policies, _ = reload(Policies(), source)
    cold = time.process_time() - began
    gc.collect()
    assert not policies.alarm
    assert len(policies.compiled.objects) > routes
    answer: dict[str, object] = {"cold": cold, "memory": (memory() - before) / 1024}
    print(json.dumps(answer), flush=True)
    for number, line in enumerate(sys.stdin, 1):
        if json.loads(line)["do"] == "edit":
            write_routes(folder, routes // 2, routes, number, per_file)
            began = time.process_time()
            policies, result = reload(policies, source)
            answer = {"edit": time.process_time() - began, **policies.seconds}
            assert result == "applied"
        else:
            policies = Policies()
            gc.collect()
            answer = loads(folder, routes)
        print(json.dumps(answer), flush=True)


def measure(sizes: Sequence[int], per_file: int, *, cells: bool) -> list[dict[str, object]]:
    """The figures of all worlds. Edits are made in turns: what else the machine does concerns all of them."""
    words = ("--per-file", str(per_file), *(("--cells",) if cells else ()))
    with ExitStack() as held:
        folders = [held.enter_context(tempfile.TemporaryDirectory()) for _ in sizes]
        orders = [("--folder", folder, "--one", str(size), *words) for folder, size in zip(folders, sizes, strict=True)]
        worlds = [held.enter_context(worker("bench.edits", *order)) for order in orders]
        found: list[dict[str, object]] = [
            {"routes": size, **world.answer()} for size, world in zip(sizes, worlds, strict=True)
        ]
        time.sleep(REST)
        edits: list[list[dict[str, float]]] = [[] for _ in sizes]
        for _ in range(EDITS):
            for world, made in zip(worlds, edits, strict=True):
                made.append(world.ask({"do": "edit"}))
        for one, world, made in zip(found, worlds, edits, strict=True):
            one["edit"] = statistics.median(edit["edit"] for edit in made)
            one["stages"] = {stage: statistics.median(edit.get(stage, 0) for edit in made) for stage in STAGES}
            one.update(world.ask({"do": "load"}))
    return found


def loads(folder: Path, routes: int) -> dict[str, object]:
    """The load alone, documents and objects, and the composer on the same files, in turns."""
    ours, objects, composed, calm = [], [], [], []
    for _ in range(3 if routes < 10_000 else 1):
        began = time.process_time()
        loaded = load_paths((folder,))
        ours.append(time.process_time() - began)
        parse_documents_of(loaded.documents)
        objects.append(time.process_time() - began)
        del loaded
        gc.collect()
        composed.append(compose_all(folder))
        gc.disable()
        calm.append(compose_all(folder))
        gc.enable()
    names = {"load": ours, "objects": objects, "compose": composed, "compose without collector": calm}
    return {name: min(seconds) for name, seconds in names.items()}


def show(found: list[dict[str, object]]) -> None:
    """The table."""
    print("one edited route, ms".ljust(34) + "".join(f"{one['routes']:>10,}" for one in found))
    for name in ("edit", *STAGES):
        figures = [float(str(one["edit"] if name == "edit" else _stages(one)[name])) for one in found]
        print(f"  {name:<32}" + "".join(f"{seconds * 1000:10.1f}" for seconds in figures))
    ratio = [float(str(one["edit"])) / float(str(found[0]["edit"])) for one in found]
    print(f"  {'ratio to the smallest':<32}" + "".join(f"{one:10.2f}" for one in ratio))
    print("from nothing, s")
    for name in COLD:
        print(f"  {name:<32}" + "".join(f"{float(str(one[name])):10.3f}" for one in found))
    shares = [float(str(one["load"])) / float(str(one["compose"])) for one in found]
    print(f"  {'load / compose':<32}" + "".join(f"{one:10.2f}" for one in shares))
    sizes = [float(str(one["memory"])) * 1024 / int(str(one["routes"])) for one in found]
    print(f"{'memory a route, KiB':<34}" + "".join(f"{one:10.1f}" for one in sizes))


def _stages(one: dict[str, object]) -> dict[str, float]:
    stages = one["stages"]
    assert isinstance(stages, dict)
    return stages


def _keep(file: Path | None, one: dict[str, object], *, cells: bool) -> None:
    routes = int(str(one["routes"]))
    seconds = {"edit": float(str(one["edit"])), **_stages(one)}
    figures = {f"{name}_ms": seconds * 1000 for name, seconds in seconds.items()}
    figures |= {f"{name.replace(' ', '_')}_s": float(str(one[name])) for name in COLD}
    figures["memory_kib"] = float(str(one["memory"])) * 1024 / routes
    keep(file, "edits", {"routes": routes, "cells": int(cells)}, figures)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--per-file", type=int, default=PER_FILE)
    parser.add_argument("--cells", action="store_true")
    option(parser)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.keep and chosen.per_file != PER_FILE:
        parser.error(f"what is kept is of {PER_FILE} routes in a file")
    if chosen.one:
        obey(chosen.folder, chosen.one, chosen.per_file, cells=chosen.cells)
        return
    found = measure(chosen.routes, chosen.per_file, cells=chosen.cells)
    for one in found:
        _keep(chosen.keep, one, cells=chosen.cells)
    show(found)


if __name__ == "__main__":
    main()
