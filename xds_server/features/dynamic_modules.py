"""Native modules that Envoy runs for requests and answers: shared libraries of its own machine.

In: `dynamicModules` of an EnvoyProxy, which says what libraries there are, and `dynamicModule` of an EnvoyExtensionPolicy, which
runs them by name. Out: a filter for each module, in order. Libraries are only those right in a folder that the operator of the
server names: a policy chooses no file. What a Gateway's EnvoyProxy does not register is refused there, with what it covers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import Field, JsonValue

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.dynamic_modules.v3.dynamic_modules_pb2 import (
    DynamicModuleFilter,
)
from xds_server.features.contract import Context, Feature, Refused, pack
from xds_server.features.parts.extensions import filter_name, in_order, permitted, switch_on
from xds_server.spec import Bool, Spec, Text

_KIND = "envoy.filters.http.dynamic_modules"
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+-]{0,200}")
Name = Annotated[Text, Field(min_length=1, max_length=253)]


class LibraryFileSpec(Spec):
    """A file on Envoys' machines."""

    path: Annotated[Text, Field(min_length=1, max_length=4096)]


class LibrarySourceSpec(Spec):
    """Where a library is."""

    type: Literal["Local"] = "Local"
    local: LibraryFileSpec


class LibrarySpec(Spec):
    """A library that policies of a Gateway may use, and how it is loaded."""

    name: Name
    source: LibrarySourceSpec
    do_not_close: Bool = False
    load_globally: Bool = False


class NativeModuleSpec(Spec):
    """A module that runs: `filterName` says which part of the library, `config` what it is told."""

    name: Name
    filter_name: Annotated[Text, Field(max_length=253)] = ""
    config: JsonValue = None
    terminal_filter: Bool = False


LibrariesSpec = Annotated[tuple[LibrarySpec, ...], Field(max_length=16)]
NativeModulesSpec = Annotated[tuple[NativeModuleSpec, ...], Field(max_length=16)]
Written = tuple[LibrarySpec, ...] | tuple[NativeModuleSpec, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """A registered library."""

    name: str
    path: str
    stays: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class NativeModule:
    """A module of a policy. `config` is JSON; empty: none. `library` is known on a Gateway only."""

    name: str
    part: str
    config: str
    library: Library | None = None


@dataclass(frozen=True, slots=True)
class NativeModules:
    """What an EnvoyProxy registers, or the modules of a policy, in order."""

    owner: str
    libraries: tuple[Library, ...] = ()
    modules: tuple[NativeModule, ...] = ()


class DynamicModules(Feature[Written, NativeModules]):
    """`dynamicModules` of an EnvoyProxy, and `dynamicModule` of an EnvoyExtensionPolicy."""

    name = "dynamic_modules"
    carriers: ClassVar[tuple[tuple[str, str], ...]] = (
        ("EnvoyProxy", "dynamicModules"),
        ("EnvoyExtensionPolicy", "dynamicModule"),
    )
    chain_follows_routes = True
    runs_code = True
    reads_requests = True

    def resolve(self, spec: Written, context: Context) -> NativeModules | None:
        """The libraries or the modules, or None if one of them must not be used."""
        libraries, modules = list[Library](), list[NativeModule]()
        for number, one in enumerate(spec):
            if isinstance(one, LibrarySpec):
                if not _fits(one, number, libraries, context):
                    return None
                libraries.append(Library(one.name, one.source.local.path, one.do_not_close, one.load_globally))
            elif isinstance(one, NativeModuleSpec):
                if (module := _module(one, number, context)) is None:
                    return None
                modules.append(module)
        return NativeModules(context.owner, tuple(libraries), tuple(modules)) if spec else None

    def within(self, value: NativeModules, wide: NativeModules | None) -> NativeModules | Refused:
        """The modules with their libraries, all of which the Gateway's EnvoyProxy must have registered."""
        known = {one.name: one for one in wide.libraries} if wide is not None else {}
        for number, one in enumerate(value.modules):
            if one.name not in known:
                named = f"only {', '.join(sorted(known))}" if known else "none at all"
                reason = f"its EnvoyProxy has no '{one.name}' in dynamicModules, {named}"
                return Refused(reason, (number, "name"))
        return replace(value, modules=tuple(replace(one, library=known[one.name]) for one in value.modules))

    def http_filters(self, values: Sequence[NativeModules]) -> Sequence[tuple[str, Message]]:
        """A filter for each module."""
        return in_order(one for value in values for one in _filters(value))

    def route(self, value: NativeModules, route: Route) -> None:
        """Switches the modules of this route on."""
        for _, name, _ in _filters(value):
            switch_on(route, name)


def _fits(spec: LibrarySpec, number: int, before: Sequence[Library], context: Context) -> bool:
    """Whether a library can be registered; what stands in the way is reported."""
    if any(one.name == spec.name for one in before):
        context.problem("F103", number, "name", reason=f"there is a module '{spec.name}' before it already")
        return False
    folder, _, file = spec.source.local.path.rpartition("/")
    folders = context.module_folders()
    if folder in folders and _FILE.fullmatch(file):
        return True
    known = ", ".join(folders)
    hint = (
        f"a library is a file right in {known}" if known else "libraries need the server's option --module-folder /PATH"
    )
    reason = f"Envoys load no library '{spec.source.local.path}'"
    context.problem("F103", number, "source", "local", "path", hint=hint, reason=reason)
    return False


def _module(spec: NativeModuleSpec, number: int, context: Context) -> NativeModule | None:
    if not permitted(context, "a native module", number):
        return None
    if spec.terminal_filter:
        reason = "other filters come after it, and Envoy takes a terminal one at the end only; a module may answer without it"
        context.problem("F103", number, "terminalFilter", reason=reason)
        return None
    config = "" if spec.config is None else json.dumps(spec.config, sort_keys=True)
    return NativeModule(spec.name, spec.filter_name, config)


def _filters(value: NativeModules) -> list[tuple[int, str, Message]]:
    found: list[tuple[int, str, Message]] = []
    for number, one in enumerate(value.modules):
        assert one.library is not None
        config = DynamicModuleFilter(filter_name=one.part)
        config.dynamic_module_config.module.local.filename = one.library.path
        config.dynamic_module_config.do_not_close = one.library.stays
        config.dynamic_module_config.load_globally = one.library.shared
        if one.config:
            config.filter_config.CopyFrom(pack(StringValue(value=one.config)))
        found.append((number, filter_name(_KIND, value.owner, number, config), config))
    return found


DYNAMIC_MODULES = DynamicModules()
