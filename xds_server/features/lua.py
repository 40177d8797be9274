"""Scripts in Lua that Envoy runs for requests and answers.

In: `lua` of an EnvoyExtensionPolicy. Out: a filter for each script, in order, switched on for the routes of the policy. A
script is read by LuaJIT, as Envoy does it, before anything is sent: a mistake in it is told with its line. A script that
fails while it is loaded answers 500 for its routes, and costs no others anything. Scripts have what works on values alone:
files, commands, libraries, and what looks into the interpreter are taken away before their first line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from lupa import luajit21
from pydantic import Field, JsonValue

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua as LuaConfig
from xds_server.envoy_api.envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.extensions import filter_name, in_order, permitted
from xds_server.features.parts.texts import TextSpec, resolve_text

_KIND = "envoy.filters.http.lua"
_SOURCE = "script"
_LONGEST = 64 * 1024
_ERROR = re.compile(r"^\[string .*?\]:(?P<line>\d+): (?P<reason>.*)$", re.DOTALL)
_GLOBALS = (
    "_G _VERSION assert bit collectgarbage coroutine error gcinfo getmetatable ipairs math next os pairs pcall print rawequal "
    "rawget rawset select setmetatable string table tonumber tostring type unpack xpcall"
)
_OS = "clock date difftime time"
_STRING = "byte char find format gmatch gsub len lower match rep reverse sub upper"
# What is not named goes, so that nothing more comes with another LuaJIT. Each filter has an interpreter of its own. Envoy's
# objects offer what frees them as a method (`__gc`); they are there after the script is loaded, so it goes at the first call.
_SHUT = """
local finish
do
  local registry, find, kind, next, set, all, done = debug.getregistry(), getmetatable, type, next, rawset, _G, false
  local function close()
    done = true
    for _, one in next, registry do
      if kind(one) == "table" and one.__gc and one.__index == one then
        local methods = {}
        for key, value in next, one do methods[key] = value end
        methods.__gc, methods.__index, one.__index = nil, nil, methods
      end
    end
  end
  finish = function()
    for _, name in next, {"envoy_on_request", "envoy_on_response"} do
      local run = all[name]
      set(all, name, kind(run) == "function" and function(handle)
        if not done then close() end
        return run(handle)
      end)
    end
  end
  local function only(held, names)
    for key in next, held do
      if not string.find(names, " " .. tostring(key) .. " ", 1, true) then held[key] = nil end
    end
  end
  getmetatable = function(one) if kind(one) == "table" then return find(one) end end
  only(os, " OS ")
  only(_G, " GLOBALS ")
  only(string, " STRING ")
end
"""
# On the first line, so that lines keep their numbers. What a script does while it is loaded may fail on Envoys only.
_BEFORE = (
    " ".join(
        _SHUT.replace(" OS ", f" {_OS} ")
        .replace(" GLOBALS ", f" {_GLOBALS} ")
        .replace(" STRING ", f" {_STRING} ")
        .split()
    )
    + " local ok, reason = pcall(function(...) local finish "
)
_AFTER = """
end, ...)
if not ok then
  function envoy_on_request(handle)
    handle:logErr("the script cannot be loaded: " .. tostring(reason))
    handle:respond({[":status"] = "500"}, "")
  end
  envoy_on_response = nil
end
finish()
"""


class ScriptSpec(TextSpec):
    """A script, and what it is told: `handle:filterContext()`."""

    filter_context: dict[str, JsonValue] | None = None


ScriptsSpec = Annotated[tuple[ScriptSpec, ...], Field(max_length=16)]


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be read. `told` is JSON; empty: nothing."""

    text: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Scripts:
    """The scripts of a policy, in order."""

    owner: str
    scripts: tuple[Script, ...]


class LuaFeature(Feature[tuple[ScriptSpec, ...], Scripts]):
    """`lua` of an EnvoyExtensionPolicy."""

    name = "lua"
    carriers = (("EnvoyExtensionPolicy", "lua"),)
    chain_follows_routes = True
    reads_requests = True

    def resolve(self, spec: tuple[ScriptSpec, ...], context: Context) -> Scripts | None:
        """The scripts, or None if one of them cannot be read or must not be run."""
        found = [_script(one, number, context) for number, one in enumerate(spec)]
        scripts = tuple(one for one in found if one is not None)
        return Scripts(context.owner, scripts) if scripts and len(scripts) == len(found) else None

    def http_filters(self, values: Sequence[Scripts]) -> Sequence[tuple[str, Message]]:
        """A filter for each script."""
        return in_order(one for value in values for one in _filters(value))

    def route(self, value: Scripts, route: Route) -> None:
        """Switches the scripts of this route on."""
        for (_, name, _), script in zip(_filters(value), value.scripts, strict=True):
            switched = LuaPerRoute(name=_SOURCE)
            if script.told:  # what a filter itself is told reaches no script
                ParseDict(json.loads(script.told), switched.filter_context)
            enable(route, name, switched)


def _filters(value: Scripts) -> list[tuple[int, str, Message]]:
    found: list[tuple[int, str, Message]] = []
    for number, script in enumerate(value.scripts):
        config = LuaConfig()
        config.source_codes[_SOURCE].inline_string = f"{_BEFORE}{script.text}{_AFTER}"
        found.append((number, filter_name(_KIND, value.owner, number, config), config))
    return found


def _script(spec: ScriptSpec, number: int, context: Context) -> Script | None:
    if not permitted(context, "a script in Lua", number):
        return None
    text = resolve_text(spec, "lua", context, number)
    if text is None:
        return None
    place = (number, "inline" if spec.inline is not None else "valueRef")
    if problem := script_problem(text):
        context.problem("F160", *place, reason=problem)
        return None
    return Script(text, json.dumps(spec.filter_context, sort_keys=True) if spec.filter_context else "")


def script_problem(text: str) -> str:
    """Why Envoy could not read a script; empty if it could."""
    if not text.strip():
        return "it is empty"
    if len(text.encode()) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    if "\x1b" in text or "\x00" in text:  # compiled scripts, which nobody checks, begin with one of them
        return "it holds characters that no script has"
    for whole in (text, f"{_BEFORE}{text}{_AFTER}"):
        try:
            _compiler().compile(whole)
        except luajit21.LuaError as error:
            found = _ERROR.match(str(error))
            return f"line {found['line']}: {found['reason']}" if found else str(error)
    return ""


@cache
def _compiler() -> Any:
    """Reads scripts and runs none."""
    return luajit21.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=False)


LUA = LuaFeature()
