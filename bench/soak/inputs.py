"""Policies that nobody would write: none may break the server, and what it accepts Envoy must accept."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench.soak.rig import Row
from fuzz.mutate import another
from fuzz.seeds import ROOT, seeds
from fuzz.targets import FILE, policies
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.load.objects import parse_documents_of
from xds_server.load.yaml import parse_file
from xds_server.observe.resources_view import static_bootstrap
from xds_server.supervise.trial import try_bootstrap

_SLOW = 2.0
_EVERY = 20
"""One of so many is given to Envoy."""
_ENVOY = ROOT / ".envoy" / "bin" / "envoy"


def compiled(data: bytes) -> Compiled:
    """What a file comes to."""
    parsed = parse_file(FILE, data)
    return compile_objects(parse_documents_of(parsed.documents, parsed.broken).objects, Options())


def mutants(seconds: float) -> Row:
    """G6, G7: files with odd values; everything that comes of some of them is given to a real Envoy."""
    chance, begun = random.Random(1), sorted(seeds("policies"))  # noqa: S311
    kept = Path(".fuzz") / "soak"
    kept.mkdir(parents=True, exist_ok=True)
    count = tried = slow = 0
    broken: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = another(chance.choice(begun), chance.getrandbits(32))
        if data is None:
            continue
        count, began = count + 1, time.process_time()
        try:
            policies(data)
            slow += time.process_time() - began > _SLOW
            if count % _EVERY == 0:
                refusals = _refusals(compiled(data))
                tried += 1
                broken += [f"Envoy refuses: {one}" for one in refusals]
        except Exception as error:  # the bug that is looked for
            broken.append(f"{type(error).__name__}: {error}")
        if broken and not (kept / f"{len(broken)}.yaml").exists():
            (kept / f"{len(broken)}.yaml").write_bytes(data)
    words = "".join(f"\n    {one:.200}" for one in broken[:10])
    measured = f"{count:,} files, {slow} slower than {_SLOW:g} s, {tried} given to Envoy, {len(broken)} failures{words}"
    return Row("G6 G7 odd policies", measured, not broken and not slow)


def _refusals(result: Compiled) -> list[str]:
    asked = (try_bootstrap(_ENVOY, static_bootstrap(snapshot)) for snapshot in result.snapshots.values())
    return [reason for reason in asked if reason]


def replicas(seconds: float) -> Row:
    """G11: the same objects in any order are the same versions."""
    whole = next(data for data in seeds("policies") if b"kind: Cell\n" in data)
    parsed = parse_file(FILE, whole)
    objects = list(parse_documents_of(parsed.documents).objects)
    chance, count, different = random.Random(1), 0, 0  # noqa: S311
    wanted = {name: one.versions for name, one in compile_objects(objects, Options()).snapshots.items()}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        chance.shuffle(objects)
        found = compile_objects(objects, Options()).snapshots
        count, different = count + 1, different + ({name: one.versions for name, one in found.items()} != wanted)
    return Row("G11 replicas", f"{count:,} orders of {len(objects)} objects, {different} other versions", not different)
