"""External authorisation: another service decides about each request.

In: `extAuth` of a SecurityPolicy. Out: a filter of Envoy's ext_authz for each policy, and the service as a further
backend. An answer of 200 (gRPC: OK) lets a request pass; any other one goes to the client. If the service cannot be
asked, the request is refused, unless `failOpen` says otherwise.

Headers that the service may set for the backend (`headersToBackend`) are taken out of requests first: a service that
says nothing must not leave the word to the client.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.config_source_pb2 import ApiVersion
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
)
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from xds_server.envoy_api.envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.secrets import SecretRefSpec, resolve_secret, secret_text
from xds_server.features.parts.services import ServiceSpec, resolve_service, service_refused
from xds_server.features.parts.values import duration, seconds
from xds_server.graph import Backend
from xds_server.spec import Bool, Duration, HeaderName, ObjectName, Spec, Text
from xds_server.types import Secret

_FILTER = "envoy.filters.http.ext_authz"
_REMOVAL = "envoy.filters.http.header_mutation/ext_authz"
_TIMEOUT = 10.0
_ROUTE_METADATA = "envoy-gateway"
_KINDS = {"httproute": "HTTPRoute", "grpcroute": "GRPCRoute"}
_NAMED = re.compile(r"(?P<kind>[a-z]+)/(?P<namespace>[^/]+)/(?P<name>.+)/rule/(?P<rule>[^/]+)/match/[0-9]+")
PathText = Annotated[Text, Field(max_length=1024)]


class GrpcAuthSpec(ServiceSpec):
    """A service that speaks `envoy.service.auth.v3.Authorization`."""


class HttpAuthSpec(ServiceSpec):
    """A service that gets the request's method, path and headers, without its body."""

    path: PathText | None = None
    path_override: PathText | None = None
    headers_to_backend: Annotated[tuple[HeaderName, ...], Field(max_length=64)] = ()


class BodySpec(Spec):
    """Send the body along; a longer one is refused with 413."""

    max_request_bytes: Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)]


class ValueRefSpec(Spec):
    """One key of a ConfigMap or a Secret."""

    group: Literal[""] = ""
    kind: Literal["ConfigMap", "Secret"] = "ConfigMap"
    name: ObjectName
    key: Annotated[Text, Field(min_length=1)]


class ContextSpec(Spec):
    """A name and a value that a gRPC service is told with each request."""

    name: Annotated[Text, Field(min_length=1)]
    type: Literal["Value", "ValueRef"] = "Value"
    value: Text | None = None
    value_ref: ValueRefSpec | None = None


class ExtAuthSpec(Spec):
    """The service, what it is told, and what holds when it does not answer."""

    grpc: GrpcAuthSpec | None = None
    http: HttpAuthSpec | None = None
    headers_to_ext_auth: Annotated[tuple[HeaderName, ...], Field(max_length=64)] = ()
    body_to_ext_auth: BodySpec | None = None
    timeout: Duration | None = None
    fail_open: Bool = False
    recompute_route: Bool = False
    include_route_metadata: Bool = False
    context_extensions: Annotated[tuple[ContextSpec, ...], Field(max_length=64)] = ()
    status_on_error: Annotated[int, Field(strict=True, ge=400, le=511)] | None = None


@dataclass(frozen=True, slots=True)
class ExtAuth:
    """A checked service. Without a `backend` (which only `failOpen` permits) nobody is asked. Times in seconds."""

    owner: str
    backend: Backend | None
    grpc: bool
    prefix: str
    override: str
    to_backend: tuple[str, ...]
    to_service: tuple[str, ...]
    body: int
    timeout: float
    fail_open: bool
    recompute: bool
    context: tuple[tuple[str, str | Secret], ...]
    status: int
    tell_route: bool


class ExtAuthFeature(Feature[ExtAuthSpec, ExtAuth]):
    """`extAuth` of a SecurityPolicy."""

    name = "ext_auth"
    carriers = (("SecurityPolicy", "extAuth"),)
    chain_follows_routes = True
    reads_requests = True
    guards = True

    def resolve(self, spec: ExtAuthSpec, context: Context) -> ExtAuth | None:
        """The service, or None if it cannot be asked. With `failOpen` a reference that leads nowhere is left out."""
        written = spec.grpc or spec.http
        if written is None or (spec.grpc and spec.http):
            context.problem("F103", reason="extAuth needs either grpc or http")
            return None
        http = spec.http or HttpAuthSpec()
        field = "grpc" if spec.grpc else "http"
        good = _check(spec, http, context)
        extensions = _context(spec, context)
        if service_refused(written, context, field):
            return None
        backend = resolve_service(written, context, field, needed=not spec.fail_open)
        if not good or extensions is None or (backend is None and not spec.fail_open):
            return None
        if backend is not None and spec.grpc:
            backend = replace(backend, name=f"{backend.name}~grpc", protocol="h2c")
        return ExtAuth(
            owner=context.owner,
            backend=backend,
            grpc=spec.grpc is not None,
            prefix=http.path or "",
            override=http.path_override or "",
            to_backend=tuple(dict.fromkeys(name.lower() for name in http.headers_to_backend)),
            to_service=tuple(dict.fromkeys(name.lower() for name in spec.headers_to_ext_auth)),
            body=spec.body_to_ext_auth.max_request_bytes if spec.body_to_ext_auth else 0,
            timeout=seconds(spec.timeout) or _TIMEOUT,
            fail_open=spec.fail_open,
            recompute=spec.recompute_route,
            context=extensions,
            status=spec.status_on_error or 0,
            tell_route=spec.include_route_metadata,
        )

    def http_filters(self, values: Sequence[ExtAuth]) -> Sequence[tuple[str, Message]]:
        """A filter that takes headers out, and one for each service."""
        found: dict[str, Message] = {_REMOVAL: HeaderMutation()} if values else {}
        for value in values:
            if value.backend is not None:
                found[_filter_name(value)] = _filter(value, value.backend)
        return tuple(found.items())

    def route(self, value: ExtAuth, route: Route) -> None:
        """Switches the filters of this route on."""
        if value.to_backend:
            removal = HeaderMutationPerRoute()
            for name in value.to_backend:
                removal.mutations.request_mutations.add(remove=name)
            enable(route, _REMOVAL, removal)
        if value.backend is not None:
            told = {name: one.value.decode() if isinstance(one, Secret) else one for name, one in value.context}
            settings = CheckSettings(context_extensions=told)
            if value.tell_route:
                _describe(route)
            enable(route, _filter_name(value), ExtAuthzPerRoute(check_settings=settings))

    def backends(self, value: ExtAuth) -> Sequence[Backend]:
        """The service."""
        return () if value.backend is None else (value.backend,)


def _check(spec: ExtAuthSpec, http: HttpAuthSpec, context: Context) -> bool:
    """True if the fields fit each other; else one that does not was reported."""
    if http.path is not None and http.path_override is not None:
        context.problem("F103", "http", "pathOverride", reason="give either path or pathOverride")
        return False
    for field, path in (("path", http.path), ("pathOverride", http.path_override)):
        if path is not None and (not path.startswith("/") or "#" in path or " " in path):
            context.problem("F103", "http", field, reason="a path starts with '/' and holds no space and no '#'")
            return False
    for number, name in enumerate(http.headers_to_backend):
        if not check_forwarded(context, name, "http", "headersToBackend", number):
            return False
    if spec.include_route_metadata and spec.http is not None:
        context.problem("F103", "includeRouteMetadata", reason="only a gRPC service can be told about the route")
        return False
    if spec.timeout is not None and not seconds(spec.timeout):
        context.problem("F103", "timeout", reason="a timeout must be longer than 0s")
        return False
    if spec.status_on_error is not None and spec.status_on_error not in StatusCode.values():
        context.problem("F103", "statusOnError", reason=f"{spec.status_on_error} is no status that Envoy answers with")
        return False
    return True


def _describe(route: Route) -> None:
    """Write into a route which object it comes from, in the words of Envoy Gateway."""
    named = _NAMED.fullmatch(route.name)
    kind = _KINDS.get(named["kind"]) if named else None
    if named is None or kind is None:
        return
    told = {"kind": kind, "namespace": named["namespace"], "name": named["name"]}
    if not named["rule"].isdecimal():
        told["sectionName"] = named["rule"]
    route.metadata.filter_metadata[_ROUTE_METADATA].update({"resources": [told]})


def _context(spec: ExtAuthSpec, context: Context) -> tuple[tuple[str, str | Secret], ...] | None:
    """Names and values for the service; None if one was reported."""
    found: dict[str, str | Secret] = {}
    if spec.context_extensions and spec.http:
        context.problem("F103", "contextExtensions", reason="only a gRPC service can be told contextExtensions")
        return None
    for number, written in enumerate(spec.context_extensions):
        path = ("contextExtensions", number)
        if written.name in found:
            context.problem("F103", *path, "name", reason=f"'{written.name}' is there twice")
            return None
        value = _context_value(written, context, *path)
        if value is None:
            return None
        found[written.name] = value
    return tuple(found.items())


def _context_value(spec: ContextSpec, context: Context, *path: str | int) -> str | Secret | None:
    wanted, other = (spec.value, spec.value_ref) if spec.type == "Value" else (spec.value_ref, spec.value)
    if wanted is None or other is not None:
        context.problem("F103", *path, reason=f"type {spec.type} needs its own field and no other")
        return None
    ref = spec.value_ref
    if ref is None:
        return spec.value
    if ref.kind == "Secret":
        held = resolve_secret(SecretRefSpec(name=ref.name), ref.key, context, *path, "valueRef")
        return held if held and secret_text(held, "the value", context, *path, "valueRef") is not None else None
    data = context.config_map(ref.name, None, *path, "valueRef")
    if data is not None and ref.key not in data:
        context.problem("F103", *path, "valueRef", "key", reason=f"ConfigMap {ref.name} has no key '{ref.key}'")
    return data.get(ref.key) if data is not None else None


def _filter_name(value: ExtAuth) -> str:
    """A name that follows the filter's configuration, and not the endpoints of its service."""
    assert value.backend is not None
    content = _filter(value, value.backend).SerializeToString(deterministic=True)
    return f"{_FILTER}/{value.owner}@{blake2b(content, digest_size=4).hexdigest()}"


def _filter(value: ExtAuth, backend: Backend) -> ExtAuthz:
    config = ExtAuthz(
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=value.fail_open,
        clear_route_cache=value.recompute,
        validate_mutations=True,
    )
    if value.to_service:
        config.allowed_headers.CopyFrom(_names(value.to_service))
    if value.body:
        config.with_request_body.max_request_bytes = value.body
    if value.status:
        config.status_on_error.CopyFrom(HttpStatus(code=StatusCode.Name(value.status)))
    if value.grpc:
        service = config.grpc_service
        service.envoy_grpc.cluster_name = backend.name
        service.envoy_grpc.authority = next((one.hostname for one in backend.endpoints if one.hostname), "ext-auth")
        service.timeout.CopyFrom(duration(value.timeout))
        if value.tell_route:
            config.route_metadata_context_namespaces.append(_ROUTE_METADATA)
        return config
    http = config.http_service
    http.server_uri.uri = "http://ext-auth"  # Envoy reads nothing of it
    http.server_uri.cluster = backend.name
    http.server_uri.timeout.CopyFrom(duration(value.timeout))
    http.path_prefix, http.path_override = value.prefix, value.override
    if value.to_backend:
        http.authorization_response.allowed_upstream_headers.CopyFrom(_names(value.to_backend))
    return config


def _names(names: tuple[str, ...]) -> ListStringMatcher:
    return ListStringMatcher(patterns=[StringMatcher(exact=name) for name in names])


EXT_AUTH = ExtAuthFeature()
