"""EnvoyExtensionPolicies: what is refused, where, and that a mistake closes what the policy covers and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.documents import compiled, parse
from xds_server.compile import Compiled, Options
from xds_server.features.lua import script_problem
from xds_server.features.wasm import WASM, Modules
from xds_server.graph import Respond, Route
from xds_server.snapshot.resource import LISTENER
from xds_server.types import CodeFile

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other}
spec:
  parentRefs: [{name: edge}]
  hostnames: [other.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
"""
ALLOWED = Options(extenders=("default",), module_folders=("/modules", "/more"))
SCRIPT = "function envoy_on_request(handle) end"
UP = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "up"}
GONE = {**UP, "name": "gone"}
SEES: dict[str, Any] = {"request": {}}
CODE = {"type": "HTTP", "http": {"url": "https://code.example/m.wasm", "sha256": "a" * 64}}


def written(spec: dict[str, Any], target: str = "web", kind: str = "HTTPRoute", name: str = "more") -> str:
    ref = {"group": "gateway.networking.k8s.io", "kind": kind, "name": target}
    head = f"---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {json.dumps({'targetRefs': [ref], **spec})}\n"


def registering(*libraries: dict[str, Any]) -> str:
    """The world, where the EnvoyProxy of the Gateway registers native modules."""
    ref = "infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: edge}}, "
    meta = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {name: edge}"
    world = WORLD.replace("spec: {listeners", f"spec: {{{ref}listeners")
    return f"{world}---\n{meta}\nspec: {json.dumps({'dynamicModules': libraries})}\n"


def library(name: str, path: str = "/modules/libstamp.so") -> dict[str, Any]:
    return {"name": name, "source": {"local": {"path": path}}}


def routes(found: Compiled) -> dict[str, Route]:
    """The first route of every host."""
    (chain,) = found.gateways[0].ports[0].http_chains
    return {name: host.routes[0] for host in chain.hosts for name in (host.hostname, *host.aliases)}


def closed(found: Compiled) -> set[str]:
    return {name for name, route in routes(found).items() if route.action == Respond(500)}


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"lua": [{"inline": "function ("}]}, "F160", "line 1: "),
        ({"lua": [{"inline": "\n\nx = 7 // 2"}]}, "F160", "line 3: unexpected symbol"),
        ({"lua": [{"inline": " "}]}, "F160", "empty"),
        ({"lua": [{"inline": f"-- {'x' * 70000}"}]}, "F160", "longer"),
        ({"lua": [{"type": "ValueRef", "inline": SCRIPT}]}, "F103", "needs its own field"),
        ({"lua": [{"type": "ValueRef", "valueRef": {"name": "gone", "kind": "ConfigMap"}}]}, "A105", "no ConfigMap"),
        ({"lua": [{"inline": SCRIPT}, {"inline": "("}]}, "F160", "line 1"),
        ({"extProc": [{"backendRefs": [GONE], "processingMode": SEES}]}, "A105", "gone"),
        ({"extProc": [{"backendRefs": [UP]}]}, "F103", "sent nothing"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": {"allowModeOverride": True}}]}, "F103", "sent nothing"),
        ({"extProc": [{"processingMode": SEES}]}, "F103", "backendRefs"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": SEES, "messageTimeout": "0s"}]}, "F103", "longer than 0s"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": SEES, "statusOnError": 499}]}, "F103", "no status"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": SEES, "metadata": {"writableNamespaces": ["envoy.lb"]}}]},
         "F103", "Envoy's own"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": {"request": {"body": "FullDuplexStreamed"}},
                       "failOpen": True}]}, "F103", "cannot go on"),
        ({"extProc": [{"backendRefs": [UP], "processingMode": {**SEES, "allowModeOverride": True}, "shadowMode": True}]},
         "F103", "nobody waits"),
        ({"wasm": [{"code": {"type": "HTTP", "http": {"url": "http://169.254.169.254/m", "sha256": "a" * 64}}}]},
         "F141", "not allowed"),
        ({"wasm": [{"code": {"type": "HTTP", "http": {"url": "ftp://code.example/m", "sha256": "a" * 64}}}]}, "F141", "http"),
        ({"wasm": [{"code": {"type": "HTTP", "http": {"url": "http://code.example/m", "sha256": "a" * 64,
                                                     "tls": {"caCertificateRef": {"name": "ca"}}}}}]}, "F103", "https"),
        ({"wasm": [{"code": {"type": "HTTP", "http": {**CODE["http"], "tls": {"caCertificateRef": {"name": "ca"}}}}}]},  # type: ignore[dict-item]
         "A105", "no Secret"),
    ],
)  # fmt: skip
def test_a_mistake_closes_what_the_policy_covers_and_nothing_else(spec: dict[str, Any], code: str, words: str) -> None:
    found = compiled(WORLD + written(spec), ALLOWED)
    (problem,) = found.diagnostics
    assert (problem.code, words in problem.message) == (code, True), problem
    assert problem.span is not None
    assert problem.span.line == 31
    assert closed(found) == {"web.example"}


@pytest.mark.parametrize(
    "spec",
    [
        {"wasm": [{"code": {"type": "Image", "image": {"url": "x"}}}]},
        {"wasm": [{"code": {"type": "File", "http": CODE["http"]}}]},
        {"wasm": [{"code": {**CODE, "file": {"path": "m.wasm"}}}]},
        {"wasm": [{"code": {"type": "HTTP", "http": {"url": "https://code.example/m"}}}]},
        {"wasm": [{"code": CODE, "env": {"hostKeys": ["HOME"]}}]},
        {"dynamicModule": [{"filterName": "x"}]},
        {"extProc": [{"backendRefs": [UP], "processingMode": {"request": {"attributes": ["a b"]}}}]},
    ],
)
def test_what_is_not_there_is_said_and_closes_what_the_policy_covers(spec: dict[str, Any]) -> None:
    text = WORLD + written(spec)
    _, problems = parse(text)
    assert problems
    assert closed(compiled(text, ALLOWED)) == {"web.example"}


@pytest.mark.parametrize(
    "spec",
    [
        {"lua": [{"inline": SCRIPT}]},
        {"wasm": [{"code": CODE, "failOpen": True}]},
        {"dynamicModule": [{"name": "stamp"}]},
    ],
)
def test_code_needs_a_namespace_that_may_run_it(spec: dict[str, Any]) -> None:
    world = registering(library("stamp"))
    refused = compiled(world + written(spec), replace(ALLOWED, extenders=()))
    assert [one.code for one in refused.diagnostics] == ["A150"]
    assert closed(refused) == {"web.example"}
    allowed = compiled(world + written(spec), ALLOWED)
    assert allowed.diagnostics == ()
    assert closed(allowed) == set()


HEAD = b"\0asm\1\0\0\0"
NAMES = HEAD + b"\7\x19\1\x15proxy_abi_version_0_2\0\0" + b"\1\1\0"
FILES = {
    "m.wasm": CodeFile(NAMES, "a" * 64),
    "sub/m.wasm": CodeFile(NAMES, "b" * 64),
    "text.wasm": CodeFile(b"hello", "c" * 64),
    "short.wasm": CodeFile(NAMES[:-1], "d" * 64),
    "long.wasm": CodeFile(NAMES + b"\1\xff\xff\xff\xff\xff\xff", "d" * 64),
    "plain.wasm": CodeFile(NAMES.replace(b"proxy", b"other"), "e" * 64),
    "said.wasm": CodeFile(HEAD + b"\0\x16\x15proxy_abi_version_0_2" + b"\1\1\0", "e" * 64),
    "lying.wasm": CodeFile(NAMES.replace(b"\x19\1", b"\x19\2"), "e" * 64),
    "bare.wasm": CodeFile(NAMES[:8], "f" * 64),
    "large.wasm": CodeFile(problem="it is larger than 4 MiB"),
}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"path": "gone.wasm"}, "no file gone.wasm"),
        ({"path": "../m.wasm"}, "no file ../m.wasm"),
        ({"path": "/etc/passwd"}, "no file /etc/passwd"),
        ({"path": "m.wasm", "sha256": "b" * 64}, f"another hash: {'a' * 64}"),
        ({"path": "text.wasm"}, "not a module of WebAssembly"),
        ({"path": "short.wasm"}, "not written to its end"),
        ({"path": "long.wasm"}, "not written to its end"),
        ({"path": "bare.wasm"}, "not written to its end"),
        ({"path": "plain.wasm"}, "no version of Proxy-Wasm"),
        ({"path": "said.wasm"}, "exports no version of Proxy-Wasm"),
        ({"path": "lying.wasm"}, "what it exports cannot be read"),
        ({"path": "large.wasm"}, "larger than 4 MiB"),
    ],
)
def test_a_file_that_is_no_module_closes_what_it_covers(file: dict[str, str], words: str) -> None:
    text = WORLD + written({"wasm": [{"code": {"type": "File", "file": file}}]})
    found = compiled(text, replace(ALLOWED, code_files=FILES))
    (problem,) = found.diagnostics
    assert words in problem.message, problem
    assert closed(found) == {"web.example"}


@pytest.mark.parametrize(
    "spec",
    [
        {"wasm": [{"code": {"type": "File", "file": {"path": "m.wasm"}}}]},
        {"dynamicModule": [{"name": "stamp"}]},
    ],
)
def test_whoever_brings_code_is_among_those_whom_a_refused_listener_names(spec: dict[str, Any]) -> None:
    service = {"extProc": [{"backendRefs": [UP], "processingMode": SEES}]}
    text = registering(library("stamp")) + written(spec) + written(service, target="other", name="harmless")
    found = compiled(text, replace(ALLOWED, code_files=FILES))
    assert found.diagnostics == ()
    (listener,) = found.snapshots["default/edge"].get(LISTENER).values()
    named = [str(one) for one in listener.origins if one.key.kind == "EnvoyExtensionPolicy"]
    line = text.splitlines().index("metadata: {name: more}") - 1
    assert [one.partition(":")[0] for one in named] == ["EnvoyExtensionPolicy default/more (test.yaml"]
    assert f"test.yaml:{line}:" in named[0]


def test_a_file_is_found_from_where_the_policy_is_and_its_hash_is_in_the_name_of_the_filter() -> None:
    def filters(path: str) -> set[str]:
        text = WORLD + written({"wasm": [{"code": {"type": "File", "file": {"path": path}}}]})
        found = compiled(text, replace(ALLOWED, code_files=FILES))
        assert (found.diagnostics, closed(found)) == ((), set())
        (value,) = (one.value for one in routes(found)["web.example"].settings if one.feature == "wasm")
        assert isinstance(value, Modules)
        (named,) = WASM.http_filters([value])
        assert NAMES in named[1].SerializeToString()
        return {named[0]}

    assert filters("m.wasm") == filters("./sub/../m.wasm")
    assert filters("m.wasm") != filters("sub/m.wasm")


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (WORLD, "has no 'stamp' in dynamicModules, none at all"),
        (registering(), "none at all"),
        (registering(library("first"), library("again", "/more/x.so")), "only again, first"),
    ],
)
def test_a_native_module_that_the_gateway_does_not_register_closes_what_it_covers(world: str, words: str) -> None:
    text = world + written({"dynamicModule": [{"name": "first"}, {"name": "stamp"}][words.startswith("only") - 1 :]})
    found = compiled(text, ALLOWED)
    (problem,) = found.diagnostics
    assert (problem.code, words in problem.message) == ("A151", True), problem
    assert problem.span is not None
    assert text.splitlines()[problem.span.line - 1][problem.span.column - 1 :].startswith('"stamp"')
    assert closed(found) == {"web.example"}


@pytest.mark.parametrize(
    "path",
    ["/modules/../etc/x.so", "/modules/sub/x.so", "/modules/", "/modules/.x", "libstamp.so", "/other/x.so", "/modules"],
)
def test_no_policy_chooses_a_library_outside_of_the_operators_folders(path: str) -> None:
    found = compiled(registering(library("stamp", path)) + written({"dynamicModule": [{"name": "stamp"}]}), ALLOWED)
    assert found.diagnostics[0].code == "F103"
    assert "/modules, /more" in found.diagnostics[0].hint
    assert found.gateways[0].ports == (), "a Gateway is not served without what its EnvoyProxy says"
    without = compiled(registering(library("stamp")), Options(extenders=("*",)))
    assert "--module-folder" in without.diagnostics[0].hint


def test_two_libraries_of_one_name_and_a_terminal_module_are_refused() -> None:
    twice = compiled(registering(library("stamp"), library("stamp", "/more/y.so")), ALLOWED)
    assert "before it already" in twice.diagnostics[0].message
    text = registering(library("stamp")) + written({"dynamicModule": [{"name": "stamp", "terminalFilter": True}]})
    found = compiled(text, ALLOWED)
    assert [(one.code, "at the end only" in one.message) for one in found.diagnostics] == [("F103", True)]
    assert closed(found) == {"web.example"}


def test_a_service_needs_no_permission_and_may_be_left_out_if_it_may_fail() -> None:
    service = {"backendRefs": [UP], "processingMode": SEES}
    assert compiled(WORLD + written({"extProc": [service]})).diagnostics == ()
    gone = {"backendRefs": [GONE], "processingMode": SEES, "failOpen": True}
    found = compiled(WORLD + written({"extProc": [gone, service]}))
    assert [one.code for one in found.diagnostics] == ["A117"]
    assert closed(found) == set()


def test_the_nearest_policy_counts_and_a_merged_one_keeps_the_rest_of_the_farther() -> None:
    far = written({"lua": [{"inline": SCRIPT}]}, "edge", "Gateway", "far")
    service = {"extProc": [{"backendRefs": [UP], "processingMode": SEES}]}

    def kinds(near: dict[str, Any]) -> dict[str, list[str]]:
        found = compiled(WORLD + far + written(near), ALLOWED)
        assert found.diagnostics == ()
        return {name: [one.feature for one in route.settings] for name, route in routes(found).items()}

    assert kinds(service) == {"web.example": ["ext_proc"], "other.example": ["lua"]}
    assert kinds({**service, "mergeType": "StrategicMerge"})["web.example"] == ["ext_proc", "lua"]


def test_values_are_frozen_and_hashable() -> None:
    spec = {
        "lua": [{"inline": SCRIPT}],
        "wasm": [{"name": "m", "code": CODE}],
        "extProc": [{"backendRefs": [UP], "processingMode": SEES}],
        "dynamicModule": [{"name": "stamp"}],
    }
    text = registering(library("stamp")) + written(spec)
    first, second = (routes(compiled(text, ALLOWED))["web.example"].settings for _ in range(2))
    assert {"lua", "wasm", "ext_proc", "dynamic_modules"} <= {one.feature for one in first}
    assert first == second
    assert hash(first) == hash(second)


def test_a_script_is_read_as_envoy_reads_it() -> None:
    assert script_problem("goto done ::done:: local a, b = 0x7f, 1 .. 'x' return a") == ""
    assert script_problem("return ...") == ""
    assert script_problem("\x1bLJ") == "it holds characters that no script has"
    assert script_problem("end) pcall(function()").startswith("line 1")
