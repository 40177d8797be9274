"""What is explained of odd requests, against a real Envoy: spellings of paths, hosts and headers that people do not write.

In: one set of routes of every kind of match and random requests. Out: failures where Envoy answers by another route, or
with another status or location, than the explanation says.
"""

from __future__ import annotations

import http.client

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cases.answers import Answer
from tests.cases.explained import disagreement
from tests.cases.reading import Request
from tests.cases.rig import GATEWAY, Rig
from tests.cases.test_cases import compile_given
from tests.e2e.running import Block
from xds_server.snapshot.resource import Snapshot

GIVEN = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: narrow}
spec:
  parentRefs: [{name: edge}]
  hostnames: [a.x.test, "*.y.test"]
  rules:
  - matches: [{path: {type: Exact, value: /a}}, {path: {type: RegularExpression, value: "/[a-c]{2,4}/.*"}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /full}}}]
  - matches: [{path: {value: /a/b}}]
    filters:
    - {type: RequestRedirect, requestRedirect: {scheme: https, path: {type: ReplacePrefixMatch, replacePrefixMatch: /q}}}
  - matches: [{path: {value: /a/c}}]
    filters:
    - {type: RequestRedirect, requestRedirect: {statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
  - matches: [{path: {value: /}, headers: [{name: p, value: "1"}], queryParams: [{name: q, value: "2"}]}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: both.test, port: 8443}}]
  - matches: [{path: {value: /}, headers: [{name: p, type: RegularExpression, value: "[1-3]+"}]}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: header.test}}]
  - matches: [{path: {value: /}, queryParams: [{name: q, type: RegularExpression, value: "[a-z]*"}]}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: query.test}}]
  - matches: [{path: {value: /b}, method: PUT}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: put.test, statusCode: 308}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wide}
spec:
  parentRefs: [{name: edge}]
  hostnames: ["*.x.test", "*.a.x.test"]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: wide.test}}]
"""
PIECES = (
    "/",
    "/",
    "//",
    "a",
    "b",
    "c",
    "ab",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%41",
    "%61",
    "%2F",
    "%5c",
    "\\",
    "~",
    "%7e",
    "%zz",
    ";",
)
paths = st.lists(st.sampled_from(PIECES), max_size=7).map(lambda parts: "/" + "".join(parts))
queries = st.sampled_from(("", "", "?q=2", "?q=abc", "?q=A", "?q", "?x=1&q=2&q=a", "?q=%61", "?/../q=2"))
headers = st.lists(
    st.tuples(st.sampled_from(("p", "P", "x_y", "other")), st.sampled_from(("1", "12", "2,1", ""))), max_size=2
)
hosts = st.sampled_from(("a.x.test", "A.X.test", "a.x.test.", "b.x.test", "c.a.x.test", "z.y.test", "y.test", "x.test"))


class Judge:
    """Asks Envoy and compares what is explained."""

    def __init__(self, snapshot: Snapshot, block: Block) -> None:
        self._snapshot, self._block = snapshot, block

    def difference(self, asked: Request) -> str:
        """What the explanation and Envoy do not agree on."""
        return disagreement(self._snapshot, self._block, asked, [ask(self._block, asked)])


@pytest.fixture(scope="module")
def judge(rig: Rig, block: Block) -> Judge:
    compiled, problems = compile_given(GIVEN, block)
    assert not problems, problems
    rig.apply(compiled.snapshots)
    return Judge(compiled.snapshots[GATEWAY], block)


def ask(block: Block, asked: Request) -> Answer:
    """The answer to a request whose path is sent as it is written."""
    connection = http.client.HTTPConnection(block.address(1), 10080, timeout=20)
    connection.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
    for name, value in (("Host", asked.host), *asked.headers):
        connection.putheader(name, value)
    connection.endheaders()
    got = connection.getresponse()
    got.read()
    connection.close()
    return Answer(got.status, headers={name.lower(): value for name, value in got.getheaders()})


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(("GET", "PUT")), hosts, paths, queries, headers)
def test_envoy_answers_as_explained(
    judge: Judge, method: str, host: str, path: str, query: str, sent: list[tuple[str, str]]
) -> None:
    assert judge.difference(Request(1, method, "http", host, 0, path + query, tuple(sent), "")) == ""
