"""Behaviour cases as they are written: what is given, what is sent, what must come of it.

In: `tests/cases/*.yaml`, each a list of cases. Out: `Case`s. Nothing here knows who answers: a real Envoy, or an engine
that only explains. A case has `case` (its name), `given` (documents beside those of `world/`; `ADDR` is the prefix of
all addresses) or `rules` (those of an HTTPRoute `web` for any host) or both, and any of:

- `when` and `then`: one request and what comes of it, or lists of equal length. A request is
  `[N x] METHOD URL [name=value ...] [#body]`; METHOD `GRPC` calls the URL's path; TCP, TLS and UDP:
  see `streams`. A URL without a port means the
  Gateway's 10080, or 10443 for https. A value `{header}` is that header of the answer before, and the upstream `same`
  the one that gave it. `shares` and `mirrored` are percentages of N requests, by the server or the status
- `listeners`: those of the Gateway `edge` in this case
- `diagnostics`: exactly these, as `CODE LINE:COLUMN part of the message`; without the field there must be none
- `conditions`: `KIND NAMESPACE/NAME TYPE=STATUS REASON`, each of which some parent or ancestor has
"""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

HERE = Path(__file__).parent
_FIELDS = {"case", "given", "listeners", "rules", "when", "then", "diagnostics", "conditions"}
_EXPECTED = {"status", "grpc", "headers", "body", "upstream", "seen", "mirrors", "attempts", "shares", "mirrored"}
_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
"""
_GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners:
"""


@dataclass(frozen=True)
class Request:
    """What is sent, `times` times. `port` 0: the default of the scheme."""

    times: int
    method: str
    scheme: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True)
class Case:
    """One case. `steps` are pairs of a request and its expectation."""

    name: str
    given: str
    steps: tuple[tuple[Request, dict[str, Any]], ...]
    diagnostics: tuple[str, ...]
    conditions: tuple[str, ...] = field(default=())


def read_cases() -> list[tuple[str, Case]]:
    """All cases with the names of their files."""
    return [
        (path.stem, _case(written))
        for path in sorted(HERE.glob("*.yaml"))
        for written in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]


def _case(written: dict[str, Any]) -> Case:
    assert set(written) <= _FIELDS, set(written) - _FIELDS
    when, then = _many(written.get("when")), _many(written.get("then"))
    assert len(when) == len(then), f"{written['case']}: {len(when)} requests, {len(then)} answers"
    assert when or "diagnostics" in written or "conditions" in written, f"{written['case']} expects nothing"
    for expected in then:
        assert expected, f"{written['case']}: an empty expectation"
        assert set(expected) <= _EXPECTED, set(expected) - _EXPECTED
    steps = tuple((read_request(text), expected) for text, expected in zip(when, then, strict=True))
    found = tuple(written.get("diagnostics", ()))
    given = written.get("given", "")
    if "rules" in written:
        given = "---".join(part for part in (given, _ROUTE + textwrap.indent(written["rules"], "  ")) if part)
    if "listeners" in written:
        given = "---".join(part for part in (given, _GATEWAY + textwrap.indent(written["listeners"], "  ")) if part)
    return Case(written["case"], given, steps, found, tuple(written.get("conditions", ())))


def _many(written: Any) -> list[Any]:
    return [] if written is None else written if isinstance(written, list) else [written]


def read_request(text: str) -> Request:
    """A request from its one-line form."""
    line, _, body = text.partition(" #")
    times, method, url, *headers = shlex.split(re.sub(r"^(\d+) x ", r"\1 ", line) if line[0].isdigit() else f"1 {line}")
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pairs = tuple((name, value) for name, _, value in (one.partition("=") for one in headers))
    return Request(int(times), method, parts.scheme, parts.hostname or "", parts.port or 0, path, pairs, body)
