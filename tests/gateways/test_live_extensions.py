"""EnvoyExtensionPolicies through a real Envoy: scripts, processing services, modules, and that nobody else notices them."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateways.processor import Processor
from tests.gateways.rig import Rig, route, service
from tests.gateways.stamps import MODULE
from xds_server.compile import Options
from xds_server.types import CodeFile

HASH = hashlib.sha256(MODULE).hexdigest()
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: edge}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: edge}
spec:
  dynamicModules:
  - {name: stamp, source: {local: {path: FOLDER/libstamp.so}}}
  - {name: kept, source: {local: {path: FOLDER/libstamp.so}}, doNotClose: true, loadGlobally: true}
  - {name: nobodys, source: {local: {path: FOLDER/not-there.so}}}
---
"""
SOURCE = Path(__file__).with_name("stamp.c")
GCC = shutil.which("gcc")
APPEND = """
function envoy_on_request(handle)
  local seen = handle:headers():get("x-order") or ""
  handle:headers():replace("x-order", seen .. handle:filterContext():get("sign"))
end
"""
GONE = (
    "io package require module dofile loadfile load loadstring debug jit ffi getfenv setfenv newproxy os.execute os.getenv "
    "os.remove os.rename os.tmpname os.exit string.dump"
)
"""What reaches files, commands, libraries, or the interpreter itself."""
REACHES = (
    f'local names = "{GONE}"'
    """
local function held(name)
  local value = _G
  for part in name:gmatch("[^.]+") do value = value and value[part] end
  return value
end
local function told()
  local found = {}
  for name in names:gmatch("[^ ]+") do if held(name) ~= nil then table.insert(found, name) end end
  return table.concat(found, " ")
end
local early, seen = told(), ""
local ways = {
  file = function() return io.open("/etc/passwd"):read("*a") end,
  command = function() return io.popen("id"):read("*a") end,
  library = function() return require("ffi") end,
  loaded = function() return _G._G.package.loaded.io end,
  text = function() return getmetatable("").__index.dump(told) end,
  made = function() return (load or loadstring)("return 1")() end,
  registry = function() return debug.getregistry()._LOADED end,
}
function envoy_on_request(handle)
  local open = {}
  for name, way in pairs(ways) do if pcall(way) then table.insert(open, name) end end
  local headers = handle:headers()
  for name, one in pairs({handle = handle, headers = headers, stream = handle:streamInfo()}) do
    if one.__gc ~= nil or one.__index ~= nil then table.insert(open, name) end
  end
  for name in pairs(headers) do seen = name end
  if finish ~= nil then table.insert(open, "finish") end
  if getmetatable(handle) ~= nil then table.insert(open, "metatable") end
  local kept = setmetatable({}, {__index = {sign = os.date("%Y", os.time()) > "2000" and "kept"}})
  handle:respond({[":status"] = "200", ["x-early"] = "<" .. early .. ">", ["x-late"] = "<" .. told() .. ">",
    ["x-open"] = "<" .. table.concat(open, " ") .. ">", ["x-kept"] = seen ~= "" and getmetatable(kept).__index.sign,
    ["x-time"] = tostring(handle:timestamp(EnvoyTimestampResolution.MILLISECOND) ~= nil)}, "")
end
"""
)
ANSWER = "function envoy_on_response(handle) handle:headers():add('x-lua', 'yes') end -- the last line is a comment"
SCRIPT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: script}\ndata: {lua: " + json.dumps(ANSWER) + "}\n---\n"
REF = {"name": "proc", "port": 80}
DEAD = {"name": "dead", "port": 80}
SEES: dict[str, Any] = {"request": {}, "response": {}}
BODIES = (None, "Streamed", "Buffered", "BufferedPartial", "FullDuplexStreamed")


def sees(request: str | None, response: str | None) -> dict[str, Any]:
    parts = {"request": request, "response": response}
    return {part: {"body": body} if body else {} for part, body in parts.items()}


def code(sha256: str) -> dict[str, Any]:
    return {"type": "HTTP", "http": {"url": "CODE", "sha256": sha256}}


POLICIES: dict[str, dict[str, Any]] = {
    "lua": {
        "lua": [
            {"inline": APPEND, "filterContext": {"sign": "1"}},
            {"inline": APPEND, "filterContext": {"sign": "2"}},
            {"type": "ValueRef", "valueRef": {"kind": "ConfigMap", "name": "script"}},
        ]
    },
    "backwards": {
        "lua": [
            {"inline": APPEND, "filterContext": {"sign": "2"}},
            {"inline": APPEND, "filterContext": {"sign": "1"}},
        ]
    },
    "reaching": {"lua": [{"inline": REACHES}]},
    "failing": {"lua": [{"inline": "error('never')"}]},
    "proc": {
        "extProc": [
            {
                "backendRefs": [REF],
                "processingMode": {"request": {"attributes": ["request.path", "source.address"]}, "response": {}},
                "messageTimeout": "5s",
            }
        ]
    },
    "buffered": {"extProc": [{"backendRefs": [REF], "processingMode": sees("Buffered", None), "messageTimeout": "5s"}]},
    "dead": {"extProc": [{"backendRefs": [DEAD], "processingMode": SEES, "statusOnError": 503}]},
    "open": {"extProc": [{"backendRefs": [DEAD], "processingMode": SEES, "failOpen": True}]},
    "shadow": {"extProc": [{"backendRefs": [REF], "processingMode": SEES, "shadowMode": True}]},
    "wasm": {"wasm": [{"name": "mine", "rootID": "root", "code": code(HASH), "config": {"a": 1}}]},
    "open-wasm": {"wasm": [{"code": code(HASH[:-4] + "0000"), "failOpen": True}]},
    "closed-wasm": {"wasm": [{"code": code(HASH[:-4] + "0000")}]},
    "file": {"wasm": [{"code": {"type": "File", "file": {"path": "stamps/m.wasm", "sha256": HASH}}}]},
    "all": {
        "lua": [{"inline": ANSWER}],
        "extProc": [{"backendRefs": [REF], "processingMode": SEES, "messageTimeout": "5s"}],
        "wasm": [{"code": code(HASH)}],
    },
    **{
        f"m{number}": {
            "extProc": [
                {
                    "backendRefs": [REF],
                    "processingMode": {**sees(first, second), "allowModeOverride": True},
                    "metadata": {"accessibleNamespaces": ["a"], "writableNamespaces": ["b"]},
                }
            ]
        }
        for number, (first, second) in enumerate(itertools.product(BODIES, BODIES))
    },
}


NATIVE: dict[str, dict[str, Any]] = {
    "native": {"dynamicModule": [{"name": "stamp", "filterName": "one", "config": {"a": 1}}, {"name": "kept"}]},
    "both": {"dynamicModule": [{"name": "stamp", "filterName": "two"}], "wasm": [{"code": code(HASH)}]},
}
"""Policies that need a library, and so a compiler."""


def extension(name: str, spec: dict[str, Any]) -> str:
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}
    whole = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": name},
        "spec": {"targetRefs": [target], **spec},
    }
    return f"{json.dumps(whole)}\n---\n"


@dataclass
class Extended:
    """Requests to hosts by the name of their policy."""

    rig: Rig
    processor: Processor

    def ask(self, name: str, path: str = "/", method: str = "GET", body: str = "", **headers: str) -> httpx.Response:
        """The answer."""
        url = f"http://{self.rig.block.address(1)}:10080{path}"
        return httpx.request(
            method, url, headers={"Host": f"{name}.example", **headers}, content=body.encode(), timeout=20
        )

    def seen(self, name: str, **headers: str) -> dict[str, str]:
        """The headers that the backend saw."""
        told: dict[str, Any] = self.ask(name, **headers).json()
        return {key.lower(): text for key, text in told["headers"].items()}


@pytest.fixture(scope="module")
def extended(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extended]:
    folder = tmp_path_factory.mktemp("modules")
    if GCC is not None:
        subprocess.run([GCC, "-shared", "-fPIC", "-o", folder / "libstamp.so", SOURCE], check=True)
    policies = POLICIES | (NATIVE if GCC is not None else {})
    processor = Processor("proc")
    server = rig.server("code")
    server.body, server.type = MODULE, "application/wasm"
    text = GATEWAY + SCRIPT + service("one", *rig.server("one").address) + service("dead", "127.0.0.1", 9)
    text += service("proc", *processor.address, app_protocol="kubernetes.io/h2c")
    text += "".join(route(name, "one", hostnames=f"{name}.example") for name in ("plain", *policies))
    text += "".join(extension(name, spec) for name, spec in policies.items())
    address, port = server.address
    text = text.replace("CODE", f"http://{address}:{port}/m.wasm").replace("FOLDER", str(folder))
    code_files = {"stamps/m.wasm": CodeFile(MODULE, HASH)}
    rig.serve(text, options=Options(extenders=("default",), module_folders=(str(folder),), code_files=code_files))
    yield Extended(rig, processor)
    processor.close()


def test_who_has_no_policy_notices_nothing(extended: Extended) -> None:
    before = len(extended.processor.heard)
    answer = extended.ask("plain", "/deny")
    assert answer.status_code == 200
    assert not {"x-lua", "x-proc", "x-wasm", "x-stamp"} & set(answer.headers)
    assert "x-order" not in extended.seen("plain")
    assert len(extended.processor.heard) == before


def test_scripts_run_in_their_order_and_are_told_what_is_written(extended: Extended) -> None:
    assert extended.seen("lua", **{"x-order": "0"})["x-order"] == "012"
    assert extended.seen("backwards")["x-order"] == "21"
    assert extended.ask("lua").headers["x-lua"] == "yes"
    assert "x-lua" not in extended.ask("backwards").headers


def test_a_script_gets_to_no_file_no_command_and_no_library(extended: Extended) -> None:
    answer = extended.ask("reaching")
    found = {name: answer.headers.get(name) for name in ("x-early", "x-late", "x-open", "x-kept", "x-time")}
    assert found == {"x-early": "<>", "x-late": "<>", "x-open": "<>", "x-kept": "kept", "x-time": "true"}


def test_a_script_that_fails_while_it_is_loaded_closes_its_routes_alone(extended: Extended) -> None:
    assert extended.ask("failing").status_code == 500
    assert extended.ask("lua").status_code == 200


def test_a_service_sees_and_changes_requests_and_answers(extended: Extended) -> None:
    extended.processor.heard.clear()
    answer = extended.ask("proc", "/here")
    assert answer.headers["x-proc"] == "proc"
    assert {key.lower(): text for key, text in answer.json()["headers"].items()}["x-proc"] == "proc"
    assert extended.processor.kinds() == ["request_headers", "response_headers"]
    (attributes,) = extended.processor.heard[0].attributes.values()
    assert dict(attributes)["request.path"] == "/here"
    refused = extended.ask("proc", "/deny")
    assert (refused.status_code, refused.text) == (403, "denied")


def test_a_service_sees_bodies_where_that_is_written(extended: Extended) -> None:
    extended.processor.heard.clear()
    answer = extended.ask("buffered", method="POST", body="text")
    assert answer.status_code == 200
    assert extended.processor.kinds() == ["request_headers", "request_body", "response_headers"]
    assert extended.processor.heard[1].request_body.body == b"text"


def test_a_service_that_is_away_closes_its_routes_unless_it_may_fail(extended: Extended) -> None:
    assert extended.ask("dead").status_code == 503
    assert extended.ask("open").status_code == 200


def test_a_shadow_changes_nothing(extended: Extended) -> None:
    answer = extended.ask("shadow", "/deny")
    assert answer.status_code == 200
    assert "x-proc" not in answer.headers


def test_a_module_runs_if_it_is_the_one_that_is_meant(extended: Extended) -> None:
    assert extended.ask("wasm").headers["x-wasm"] == extended.ask("file").headers["x-wasm"] == "yes"
    assert extended.ask("closed-wasm").status_code == 503
    answer = extended.ask("open-wasm")
    assert (answer.status_code, "x-wasm" in answer.headers) == (200, False)


@pytest.mark.skipif(GCC is None, reason="there is no gcc to compile a native module with")
def test_native_modules_run_in_their_order_and_are_told_what_is_written(extended: Extended) -> None:
    answer = extended.ask("native")
    assert answer.status_code == 200
    assert answer.headers.get_list("x-stamp") == [":", 'one:{"a": 1}']
    refused = extended.ask("native", "/refused")
    assert (refused.status_code, refused.text) == (403, "not here")
    assert extended.ask("plain", "/refused").status_code == 200
    answer = extended.ask("both")
    assert (answer.headers["x-stamp"], answer.headers["x-wasm"]) == ("two:", "yes")


def test_all_kinds_work_together(extended: Extended) -> None:
    answer = extended.ask("all")
    assert {name: answer.headers[name] for name in ("x-lua", "x-proc", "x-wasm")} == {
        "x-lua": "yes",
        "x-proc": "proc",
        "x-wasm": "yes",
    }
