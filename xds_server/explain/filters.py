"""What each filter would make of a request, as far as the request tells.

In: a connection manager, the route that a request takes, and the request. Out: a `Verdict` for every filter that the route
switches on, in the order in which they see the request. What hangs on more than the request (whether a token is good, how much
is left of a limit) is said so, and never decided. No secret is opened but by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuthPerRoute
from xds_server.envoy_api.envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth, BasicAuthPerRoute
from xds_server.envoy_api.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from xds_server.envoy_api.envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from xds_server.envoy_api.envoy.extensions.filters.http.csrf.v3.csrf_pb2 import CsrfPolicy
from xds_server.envoy_api.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
)
from xds_server.envoy_api.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    PerRouteConfig,
)
from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.envoy_api.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from xds_server.envoy_api.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from xds_server.explain import credentials, limits, origins
from xds_server.explain.predicates import Asked, decided
from xds_server.explain.request import Request
from xds_server.explain.verdict import PASSES, Verdict, answers, changes, depends, passes

M = TypeVar("M", bound=Message)
Judge = Callable[[AnyMessage, AnyMessage, Asked], Verdict | None]
_PASSIVE = ("router", "on_demand", "grpc_web", "stateful_session", "bandwidth_limit", "compressor", "decompressor")
_CHANGES = ("header_mutation", "geoip", "credential_injector", "header_to_metadata", "dynamic_forward_proxy")
_ASKS: Mapping[str, str] = {
    "ext_authz": "a service is asked whether it may pass",
    "ext_proc": "a service sees it, and may answer or change it",
    "lua": "a script sees it, and may answer or change it",
    "wasm": "a module sees it, and may answer or change it",
    "dynamic_modules": "a native module sees it, and may answer or change it",
    "oauth2": "without a session it is sent to the login of the identity provider",
    "adaptive_concurrency": "it is refused with 503 while there are too many at once",
    "admission_control": "a share is refused with 503 while the backend does badly",
    "ratelimit": "a service counts it",
}
"""What filters do whose decision is somebody else's."""
_MAY_CHANGE = ("dynamic_modules", "ext_authz", "ext_proc", "geoip", "lua", "oauth2", "wasm")


def verdicts(manager: HttpConnectionManager, route: Route, request: Request) -> tuple[Verdict, ...]:
    """What the filters that see this route's requests decide; after one that surely answers the others do not matter."""
    found: list[Verdict] = []
    asked = Asked(_with_known_source(manager, request))
    for one in manager.http_filters:
        if not is_on(one, route):
            continue
        kind = one.name.rpartition("/")[0] or one.name
        short = kind.removeprefix("envoy.filters.http.")
        verdict = _judge(one, short, route, asked)
        found.append(Verdict(verdict.decision, verdict.says, verdict.status, one.name))
        if verdict.decision == "answers":
            break
        if _may_change(one, short, route):
            asked = Asked(asked.request, settled=False)
    return tuple(found)


def _with_known_source(manager: HttpConnectionManager, request: Request) -> Request:
    """Where headers or proxies say who the client is, the address of the connection is not the one that rules see."""
    if not manager.original_ip_detection_extensions and not manager.xff_num_trusted_hops:
        return request
    return Request(
        request.method, request.scheme, request.host, request.port, request.path, request.headers, "", request.peer
    )


def is_on(one: HttpFilter, route: Route) -> bool:
    """Whether a filter sees the requests of a route."""
    if one.name not in route.typed_per_filter_config:
        return not one.disabled
    own = _opened(route.typed_per_filter_config[one.name], FilterConfig)
    return own is None or not own.disabled


def _judge(one: HttpFilter, short: str, route: Route, asked: Asked) -> Verdict:
    config = route.typed_per_filter_config[one.name] if one.name in route.typed_per_filter_config else AnyMessage()
    for judge in _JUDGES:
        verdict = judge(config, one.typed_config, asked)
        if verdict is not None:
            return verdict
    head = short.partition("/")[0]
    if head in _PASSIVE:
        return PASSES
    if head == "custom_response":
        return changes("answers of some statuses are replaced by others")
    if head in _CHANGES:
        named = ", ".join(dict.fromkeys(name for name in _mutated(config, one.typed_config) if name))
        only_answers = head == "header_mutation" and not named
        return changes("it changes headers of answers" if only_answers else f"it changes {named or 'headers'}")
    return depends(_ASKS.get(head, "what it decides is not known from a request alone"))


def _may_change(one: HttpFilter, short: str, route: Route) -> bool:
    """Whether filters after this one may see other headers than the client sent."""
    own, config = one.typed_config, route.typed_per_filter_config
    mine = config[one.name] if one.name in config else AnyMessage()
    if (tokens := _opened(own, JwtAuthentication)) is not None:
        return any(provider.claim_to_headers for provider in tokens.providers.values())
    if (keys := _opened(mine, ApiKeyAuthPerRoute)) is not None:
        return bool(keys.forwarding.header) or keys.forwarding.hide_credentials
    if (users := _opened(own, BasicAuth)) is not None:
        return bool(users.forward_username_header)
    return short.startswith(_MAY_CHANGE) or bool(_mutated(mine, own))


def _opened(packed: AnyMessage, kind: type[M]) -> M | None:
    message = kind()
    return message if packed.Unpack(message) else None


def _rules(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    per_route = _opened(config, RBACPerRoute)
    if per_route is None:
        return None
    if not per_route.rbac.HasField("matcher"):
        return passes("it counts what rules would refuse")
    found = decided(per_route.rbac.matcher, asked)
    names = " or ".join(dict.fromkeys(one.name for one in found))
    outcomes = {one.action for one in found}
    if len(outcomes) > 1:
        return depends(f"it hangs on who asks which rule decides: {names}", 403)
    return passes(f"allowed by rule {names}") if outcomes == {0} else answers(403, f"refused by rule {names}")


def _cors(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    policy = _opened(config, CorsPolicy)
    return None if policy is None else origins.cross_origin(policy, asked.request)


def _csrf(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    policy = _opened(config, CsrfPolicy)
    return None if policy is None else origins.forgery(policy, asked.request)


def _keys(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    per_route = _opened(config, ApiKeyAuthPerRoute)
    return None if per_route is None else credentials.api_key(per_route, asked)


def _password(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    return None if _opened(config, BasicAuthPerRoute) is None else credentials.password(asked)


def _tokens(config: AnyMessage, own: AnyMessage, asked: Asked) -> Verdict | None:
    named, all_of_them = _opened(config, PerRouteConfig), _opened(own, JwtAuthentication)
    if named is None or all_of_them is None:
        return None
    requirement = all_of_them.requirement_map[named.requirement_name]
    providers: dict[str, JwtProvider] = dict(all_of_them.providers.items())
    return credentials.token(requirement, providers, asked)


def _local(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    limit = _opened(config, LocalRateLimit)
    return None if limit is None else limits.local(limit, asked)


def _global(config: AnyMessage, _own: AnyMessage, asked: Asked) -> Verdict | None:
    per_route = _opened(config, RateLimitPerRoute)
    return None if per_route is None else limits.counted_elsewhere(per_route, asked)


def _fault(config: AnyMessage, _own: AnyMessage, _asked: Asked) -> Verdict | None:
    fault = _opened(config, HTTPFault)
    return None if fault is None else limits.fault(fault)


def _buffer(config: AnyMessage, _own: AnyMessage, _asked: Asked) -> Verdict | None:
    per_route = _opened(config, BufferPerRoute)
    if per_route is None or not per_route.HasField("buffer"):
        return None
    return depends(f"a body of more than {per_route.buffer.max_request_bytes.value} bytes is refused", 413)


_JUDGES: tuple[Judge, ...] = (
    _rules,
    _cors,
    _csrf,
    _keys,
    _password,
    _tokens,
    _local,
    _global,
    _fault,
    _buffer,
)


def _mutated(config: AnyMessage, own: AnyMessage) -> list[str]:
    """The headers of requests that a header mutation changes."""
    per_route, whole = _opened(config, HeaderMutationPerRoute), _opened(own, HeaderMutation)
    both = [one.mutations for one in (per_route, whole) if one is not None]
    return [one.append.header.key or one.remove for each in both for one in each.request_mutations]
