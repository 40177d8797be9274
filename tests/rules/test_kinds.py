"""Every rule kind of Envoy's descriptors: one case that breaks it, and cases at its edge that hold.

In: `kinds.yaml`. Out: failures when a violation is missed, when a sound message is refused, and when the
API of the pinned Envoy has a rule kind that is not implemented or has no case here.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValue, KeyValue
from xds_server.envoy_api.envoy.extensions.filters.common.jwks.v3.jwt_handshake_pb2 import JwtHandshakeValidator
from xds_server.rules import Rules

ROOT = Path(__file__).resolve().parents[2]
API = "xds_server.envoy_api"
LENGTHS = {"bytes.max_len", "string.max_bytes", "string.max_len"}  # in test_lengths
# Rules that change another rule or hold others; each is met by a case of the rule that it changes.
INSIDE = {"string.strict", "repeated.items", "map.keys", "map.values"}


class Case(NamedTuple):
    rule: str
    type: str
    value: dict[str, Any]
    problem: str | None = None


CASES = [Case(**case) for case in yaml.safe_load(Path(__file__).with_name("kinds.yaml").read_text(encoding="utf-8"))]


def make(case: Case) -> Message:
    """The message that a case describes. Modules end at the last part in lower case."""
    path = case.type.split(".")
    classes = next(index for index, part in enumerate(path) if part[0].isupper())
    found: Any = importlib.import_module(f"{API}.{'.'.join(path[:classes])}_pb2")
    for name in path[classes:]:
        found = getattr(found, name)
    message: Message = json_format.ParseDict(case.value, found())
    return message


@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{case.rule}" for index, case in enumerate(CASES)])
def test_rule(case: Case) -> None:
    assert Rules().check(make(case)) == case.problem


def test_lengths() -> None:
    """Code points or bytes, as the rule says."""
    check = Rules().check
    assert check(HeaderValue(key="a", raw_value=b"x" * 16384)) is None
    assert check(HeaderValue(key="a", raw_value=b"x" * 16385)) == (
        "raw_value: must have at most 16384 bytes, is 16385 bytes"
    )
    assert check(KeyValue(key="é" * 8192)) is None
    assert check(KeyValue(key="é" * 8193)) == (f'key: must have at most 16384 bytes, is "{"é" * 60}..."')
    assert check(JwtHandshakeValidator(issuer="é" * 1024, local_jwks={})) == (
        "local_jwks.specifier: one of filename, inline_bytes, inline_string, environment_variable must be set"
    )
    assert check(JwtHandshakeValidator(issuer="é" * 1025)) == (
        f'issuer: must have at most 1024 characters, is "{"é" * 60}..."'
    )


KINDS_PROGRAM = """
import importlib, sys
from google.protobuf import message_factory
from xds_server.envoy_api.validate import validate_pb2 as validate
from xds_server.rules import Rules

rules, kinds = Rules(), set()

def collect(message, prefix=""):
    for field, value in message.ListFields():
        nested = field.message_type is not None and field.message_type.full_name.startswith("validate.")
        if nested and field.name not in ("items", "keys", "values"):
            collect(value, field.name + ".")
        else:
            kinds.add(prefix + field.name)
            if nested:
                collect(value)

def visit(descriptor):
    rules.check(message_factory.GetMessageClass(descriptor)())  # reads every rule of the type
    for field in descriptor.fields:
        collect(field.GetOptions().Extensions[validate.rules])
    for oneof in descriptor.oneofs:
        kinds.update(["oneof.required"] if oneof.GetOptions().Extensions[validate.required] else [])
    for nested in descriptor.nested_types:
        visit(nested)

for name in sys.stdin.read().split():
    for descriptor in importlib.import_module(name).DESCRIPTOR.message_types_by_name.values():
        visit(descriptor)
print(" ".join(sorted(kinds)))
"""


def test_every_rule_kind_of_the_api_is_implemented_and_has_a_case() -> None:
    """In a fresh interpreter, because imports register descriptors for the whole process."""
    folder = ROOT / "xds_server" / "envoy_api"
    modules = (".".join((API, *path.relative_to(folder).with_suffix("").parts)) for path in folder.rglob("*_pb2.py"))
    done = subprocess.run(
        [sys.executable, "-c", KINDS_PROGRAM],
        input="\n".join(modules),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    kinds = set(done.stdout.split())
    assert {"string.min_len", "oneof.required", "map.values"} <= kinds
    assert kinds - INSIDE - LENGTHS - {case.rule for case in CASES} == set()
