"""Every behaviour case: its documents go through loading, compiling and serving to a real Envoy, which gets its requests.

In: `tests/cases/*.yaml` (see `reading`). Out: failures that name the case, the request and what differs.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cases.answers import Answer, differences
from tests.cases.explained import disagreement
from tests.cases.reading import HERE, Case, Request, read_cases
from tests.cases.rig import GATEWAY, Rig
from tests.cases.streams import METHODS, certificate_of
from tests.documents import parse
from tests.e2e.certificates import self_signed
from tests.e2e.running import Block
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic
from xds_server.status import Status
from xds_server.types import Key

PATIENCE = 5.0
"""Seconds until the last copy has arrived."""
CASES = [pytest.param(case, id=f"{file}: {case.name}") for file, case in read_cases()]


@functools.cache
def _world() -> str:
    """What every case finds, with a certificate for `shop.example` and its subdomains in the Secret `shop-cert`.

    The ConfigMap `stream-1` holds the authority of the server of that name.
    """
    chain, key = (json.dumps(text) for text in self_signed("shop.example", "*.shop.example"))
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: shop-cert}}\nstringData: {{tls.crt: {chain}, tls.key: {key}}}\n"
    authority = json.dumps(certificate_of("stream-1")[0])
    trust = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: stream-1}}\ndata: {{ca.crt: {authority}}}\n"
    return "---\n".join((Path(HERE, "world", "objects.yaml").read_text(encoding="utf-8"), secret, trust))


def compile_given(given: str, block: Block) -> tuple[Compiled, list[Diagnostic]]:
    """The documents of a case in the world, compiled, and all that is said of them."""
    objects, problems = parse(given.replace("ADDR", block.prefix), "given")
    world, bad = parse(_world().replace("ADDR", block.prefix), "world")
    assert not bad, bad
    keys = {item.key for item in objects}
    compiled = compile_objects((*objects, *(item for item in world if item.key not in keys)), Options())
    return compiled, [*problems, *compiled.diagnostics]


@pytest.mark.parametrize("case", CASES)
def test_case(case: Case, block: Block, request: pytest.FixtureRequest) -> None:
    compiled, problems = compile_given(case.given, block)
    _compare_diagnostics(case, problems)
    held = [text for key, status in compiled.statuses.items() for text in _conditions(key, status)]
    missing = [text for text in case.conditions if text not in held]
    about = [text for text in held if text.rpartition("=")[0] in {one.rpartition("=")[0] for one in missing}]
    assert not missing, f"{missing}; there are {about or held}"
    if not case.steps:
        return
    rig = request.getfixturevalue("rig")
    assert isinstance(rig, Rig)
    rig.apply(compiled.snapshots)
    answers = [Answer()]
    for number, (written, wanted) in enumerate(case.steps):
        asked, expected = _after(written, wanted, answers[-1])
        others = sum(expected.get("mirrors", {}).values()) or expected.get("attempts", 1) - 1
        silent = expected.get("upstream") == "none"
        answers = [rig.send(asked, others=others, silent=silent) for _ in range(asked.times)]
        deadline = time.monotonic() + PATIENCE
        while (found := differences(answers, expected)) and "mirrored" in expected and time.monotonic() < deadline:
            answers = rig.again(answers)
        assert not found, f"step {number}, {asked.method} {asked.host}{asked.path}: {found}\n{answers[0]}"
        if asked.method not in METHODS:
            assert not disagreement(compiled.snapshots[GATEWAY], block, asked, answers), f"step {number}"


def _after(asked: Request, expected: dict[str, Any], before: Answer) -> tuple[Request, dict[str, Any]]:
    """A request that takes values from the answer before (`cookie={set-cookie}`), and what `same` means there."""
    said = {"{" + name + "}": value.partition(";")[0] for name, value in before.headers.items()}
    headers = tuple((name, said.get(value, value)) for name, value in asked.headers)
    same = {"upstream": before.upstream} if expected.get("upstream") == "same" else {}
    return replace(asked, headers=headers), expected | same


def _compare_diagnostics(case: Case, problems: list[Diagnostic]) -> None:
    actual = [f"{one.code} {_place(one)} {one.message}" for one in problems]
    texts = list(actual)
    for wanted in case.diagnostics:
        code, place, *part = wanted.split(" ", 2)
        fits = [one for one in texts if one.startswith(f"{code} {place} ") and (not part or part[0] in one)]
        assert fits, f"no diagnostic '{wanted}'; there are {actual}"
        texts.remove(fits[0])
    assert not texts, f"not expected: {texts}"


def _place(diagnostic: Diagnostic) -> str:
    return f"{diagnostic.span.line}:{diagnostic.span.column}" if diagnostic.span else "-"


def _conditions(key: Key, status: Status) -> list[str]:
    """The conditions of an object, its parents and ancestors, in the words of a case."""
    found = [*status.conditions, *(one for place in (*status.parents, *status.ancestors) for one in place.conditions)]
    subject = str(key)
    return [f"{subject} {one.type}={one.status} {one.reason}" for one in found]
