"""Modules of WebAssembly that Envoy runs for requests and answers.

In: `wasm` of an EnvoyExtensionPolicy. Out: a filter for each module, in order, and the servers that have their code. Envoys
fetch code of the web themselves, and take it only if its SHA-256 hash is the one that is written: so everybody runs what was
meant. Code that lies in a file beside the policies is sent to them as it is. Without its code a module answers 503, or nothing
runs with `failOpen`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import Field, JsonValue, StringConstraints, model_validator

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from xds_server.envoy_api.envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy, PluginConfig
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.extensions import filter_name, in_order, permitted, switch_on
from xds_server.features.parts.pem import certificate_problem
from xds_server.features.parts.secrets import SecretRefSpec
from xds_server.features.parts.servers import WebServer, asking_problem, parse_server
from xds_server.features.parts.values import duration, uint32
from xds_server.features.parts.wasm_binaries import binary_problem
from xds_server.graph import Backend
from xds_server.spec import Bool, Spec, Text

_KIND = "envoy.filters.http.wasm"
_TIMEOUT = 5.0
_TRIES = 2
Name = Annotated[Text, Field(max_length=253)]


class CodeTlsSpec(Spec):
    """Who vouches for the server: key `ca.crt`."""

    ca_certificate_ref: Annotated[SecretRefSpec, Field(alias="caCertificateRef")]


class HttpCodeSpec(Spec):
    """Where the code is, and its SHA-256 hash."""

    url: Annotated[Text, Field(min_length=1, max_length=2048)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    tls: CodeTlsSpec | None = None


class FileCodeSpec(Spec):
    """A file, by its place beside the file that holds the policy. With a hash only that content will do."""

    path: Annotated[Text, Field(min_length=1, max_length=1024)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class CodeSpec(Spec):
    """The code of a module."""

    type: Literal["HTTP", "File"]
    http: HttpCodeSpec | None = None
    file: FileCodeSpec | None = None

    @model_validator(mode="after")
    def _type_fits(self) -> CodeSpec:
        if (self.http is not None, self.file is not None) != (self.type == "HTTP", self.type == "File"):
            raise ValueError("type HTTP needs 'http', type File needs 'file', and nothing else")
        return self


class ModuleSpec(Spec):
    """A module, and what it is told."""

    name: Name | None = None
    root_id: Annotated[Name | None, Field(alias="rootID")] = None
    code: CodeSpec
    config: JsonValue = None
    fail_open: Bool = False


ModulesSpec = Annotated[tuple[ModuleSpec, ...], Field(max_length=16)]


@dataclass(frozen=True, slots=True)
class Module:
    """A checked module. `config` is JSON; empty: none. Its code is that of a `backend`, by URL, or `content`."""

    name: str
    root: str
    sha256: str
    config: str
    fail_open: bool
    url: str = ""
    backend: Backend | None = None
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of a policy, in order."""

    owner: str
    modules: tuple[Module, ...]


class WasmFeature(Feature[tuple[ModuleSpec, ...], Modules]):
    """`wasm` of an EnvoyExtensionPolicy."""

    name = "wasm"
    carriers = (("EnvoyExtensionPolicy", "wasm"),)
    chain_follows_routes = True
    runs_code = True
    reads_requests = True

    def resolve(self, spec: tuple[ModuleSpec, ...], context: Context) -> Modules | None:
        """The modules, or None if one of them cannot be had or must not be run."""
        found = [_module(one, number, context) for number, one in enumerate(spec)]
        modules = tuple(one for one in found if one is not None)
        return Modules(context.owner, modules) if modules and len(modules) == len(found) else None

    def http_filters(self, values: Sequence[Modules]) -> Sequence[tuple[str, Message]]:
        """A filter for each module."""
        return in_order(
            (number, name, _filled(config, value.modules[number]))
            for value in values
            for number, name, config in _filters(value)
        )

    def route(self, value: Modules, route: Route) -> None:
        """Switches the modules of this route on."""
        for _, name, _ in _filters(value):
            switch_on(route, name)

    def backends(self, value: Modules) -> Sequence[Backend]:
        """Servers of code."""
        return tuple(one.backend for one in value.modules if one.backend is not None)


def _module(spec: ModuleSpec, number: int, context: Context) -> Module | None:
    if not permitted(context, "a module of WebAssembly", number):
        return None
    config = "" if spec.config is None else json.dumps(spec.config, sort_keys=True)
    module = Module(spec.name or f"{context.owner}/{number}", spec.root_id or "", "", config, spec.fail_open)
    if spec.code.file is not None:
        return _of_file(module, spec.code.file, context, number, "code", "file")
    assert spec.code.http is not None
    return _of_web(module, spec.code.http, context, number, "code", "http")


def _of_file(module: Module, written: FileCodeSpec, context: Context, *place: str | int) -> Module | None:
    """The module with the code of a file."""
    found = context.code_file(written.path, *place, "path")
    if found is None:
        return None
    if written.sha256 not in (None, found.sha256):
        context.problem("F103", *place, "sha256", reason=f"{written.path} has another hash: {found.sha256}")
        return None
    if problem := binary_problem(found.content):
        context.problem("F103", *place, "path", reason=f"{written.path} cannot run: {problem}")
        return None
    return replace(module, sha256=found.sha256, content=found.content)


def _of_web(module: Module, written: HttpCodeSpec, context: Context, *place: str | int) -> Module | None:
    """The module with code that Envoys fetch."""
    server = parse_server(written.url, "wasm")
    if isinstance(server, str) or (problem := asking_problem(server, context)):
        context.problem("F141", *place, "url", reason=server if isinstance(server, str) else problem)
        return None
    backend = _backend(server, written, context, *place)
    return None if backend is None else replace(module, sha256=written.sha256, url=written.url, backend=backend)


def _backend(server: WebServer, written: HttpCodeSpec, context: Context, *place: str | int) -> Backend | None:
    """Where the code is fetched; None after a problem was reported."""
    backend = server.backend
    if written.tls is None:
        return backend
    ref = written.tls.ca_certificate_ref
    path = (*place, "tls", "caCertificateRef")
    if backend.tls is None:
        context.problem("F103", *place, "tls", reason="nobody vouches for a server without TLS: use an https URL")
        return None
    data = context.secret(ref.name, ref.namespace, *path)
    if data is None:
        return None
    held = data.get("ca.crt")
    reason = f"Secret {ref.name} has no key ca.crt" if held is None else certificate_problem(held.value)
    if held is None or reason:
        context.problem("A104", *path, reason=reason if held is None else f"Secret {ref.name} {reason}")
        return None
    text = held.value.decode()
    return replace(backend, name=f"{backend.name}~{written.sha256[:8]}", tls=replace(backend.tls, ca=text))


def _filled(config: Wasm, module: Module) -> Wasm:
    """A filter with its code, which is long: names go by its hash."""
    if module.content:
        config.config.vm_config.code.local.inline_bytes = module.content
    return config


def _filters(value: Modules) -> list[tuple[int, str, Wasm]]:
    found: list[tuple[int, str, Wasm]] = []
    for number, one in enumerate(value.modules):
        config = Wasm(config=_plugin(one, value.owner))
        found.append((number, filter_name(_KIND, value.owner, number, config), config))
    return found


def _plugin(module: Module, owner: str) -> PluginConfig:
    policy = FailurePolicy.FAIL_OPEN if module.fail_open else FailurePolicy.FAIL_CLOSED
    plugin = PluginConfig(name=module.name, root_id=module.root, failure_policy=policy)
    if module.config:
        plugin.configuration.CopyFrom(pack(StringValue(value=module.config)))
    plugin.vm_config.runtime = "envoy.wasm.runtime.v8"
    plugin.vm_config.vm_id = f"{owner}/{module.name}"  # modules of others see nothing of what is kept there
    if module.backend is None:
        plugin.vm_config.code.local.inline_string = module.sha256  # in place of the code
        return plugin
    remote = plugin.vm_config.code.remote
    remote.sha256 = module.sha256
    remote.http_uri.uri = module.url
    remote.http_uri.cluster = module.backend.name
    remote.http_uri.timeout.CopyFrom(duration(_TIMEOUT))
    remote.retry_policy.num_retries.CopyFrom(uint32(_TRIES))
    return plugin


WASM = WasmFeature()
