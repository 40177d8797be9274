"""Limits on the number of requests that one service counts for all Envoys.

In: `rateLimit.global` of a BackendTrafficPolicy. Out: Envoy's rate limit filter for each service that is asked, and the
service as a further backend. Above a limit the answer is 429. The descriptor of a rule has the entries `policy`, `route`
(unless the rule is `shared`), those of the rule and those of its `Distinct` values, and it carries the limit itself: the
service needs to know nothing but how to count. While the service does not answer, requests pass, unless `failClosed`.

Rules in `shadowMode` are asked for by a filter of their own, which refuses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.config_source_pb2 import ApiVersion
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RateLimit, Route
from xds_server.envoy_api.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import (
    RateLimit as RateLimitFilter,
)
from xds_server.envoy_api.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from xds_server.envoy_api.envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from xds_server.envoy_api.envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from xds_server.features.contract import Context, Feature, Transport, enable
from xds_server.features.parts.descriptors import conditions, distinct, entries
from xds_server.features.parts.rate_limits import (
    MetadataSpec,
    OneCostSpec,
    RateLimitRuleSpec,
    RateLimitServiceSpec,
    RateLimitSpec,
)
from xds_server.features.parts.selectors import Selector, resolve_selector
from xds_server.features.parts.services import resolve_service
from xds_server.features.parts.values import duration, seconds
from xds_server.graph import Backend
from xds_server.types import Path

_FILTER = "envoy.filters.http.ratelimit"
_ALL = 100
Option = RateLimit.XRateLimitOption
Action = RateLimit.Action


@dataclass(frozen=True, slots=True)
class Metadata:
    """A value that another filter has left."""

    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`limit` and `unit` are those of the descriptor, unless metadata says them. A cost of None is one request."""

    limit: int
    unit: str
    from_metadata: Metadata | None
    request: int | Metadata | None
    response: int | Metadata | None
    shared: bool
    shadow: bool
    told: bool
    selectors: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class GlobalRateLimit:
    """The rules of one policy, and who counts. `timeout` in seconds."""

    owner: str
    backend: Backend
    domain: str
    timeout: float
    closed: bool
    rules: tuple[Rule, ...]


class GlobalRateLimitFeature(Feature[RateLimitSpec, GlobalRateLimit]):
    """`rateLimit.global` of a BackendTrafficPolicy."""

    name = "global_rate_limit"
    carriers = (("BackendTrafficPolicy", "rateLimit"),)
    chain_follows_routes = True

    def resolve(self, spec: RateLimitSpec, context: Context) -> GlobalRateLimit | None:
        """The rules, or None if one of them cannot be kept."""
        written = spec.global_
        if written is None:
            if spec.type == "Global":
                context.problem("F103", reason="rateLimit of type Global needs the field global")
            return None
        if written.service is None:
            hint = "service: {backendRefs: [{name: rate-limits, port: 8081}]}"
            context.problem("F103", "global", reason="global limits need a service that counts", hint=hint)
            return None
        backend = _service(written.service, context)
        rules = [_rule(one, context, "global", "rules", number) for number, one in enumerate(written.rules)]
        found = tuple(one for one in rules if one is not None)
        if backend is None or len(found) < len(rules):
            return None
        timeout = seconds(written.service.timeout) or 0.0
        return GlobalRateLimit(
            context.owner, backend, written.service.domain, timeout, written.service.fail_closed, found
        )

    def http_filters(self, values: Sequence[GlobalRateLimit]) -> Sequence[tuple[str, Message]]:
        """A filter for each service, and one for what is only watched."""
        found: dict[str, Message] = {}
        for value in values:
            for shadow in (True, False):
                if any(rule.shadow is shadow for rule in value.rules):
                    found[_filter_name(value, shadow)] = _filter(value, shadow)
        return tuple(found.items())

    def route(self, value: GlobalRateLimit, route: Route) -> None:
        """What this route asks."""
        for shadow in (True, False):
            limits: list[RateLimit] = []
            for number, rule in enumerate(value.rules):
                if rule.shadow is shadow:
                    limits += _limits(value.owner, route.name, f"rule-{number}", rule)
            if limits:
                per_route = RateLimitPerRoute(rate_limits=limits, vh_rate_limits=RateLimitPerRoute.IGNORE)
                enable(route, _filter_name(value, shadow), per_route)

    def unfit(self, spec: RateLimitSpec, transport: Transport) -> Sequence[Path]:
        """What is said of `rateLimit` as a whole, local limits say."""
        return ()

    def backends(self, value: GlobalRateLimit) -> Sequence[Backend]:
        """The service."""
        return (value.backend,)


def _service(spec: RateLimitServiceSpec, context: Context) -> Backend | None:
    """The service, to which gRPC is spoken."""
    if not seconds(spec.timeout):
        context.problem("F103", "global", "service", "timeout", reason="a timeout must be longer than 0s")
        return None
    backend = resolve_service(spec, context, "global", "service")
    return replace(backend, name=f"{backend.name}~grpc", protocol="h2c") if backend else None


def _rule(spec: RateLimitRuleSpec, context: Context, *path: str | int) -> Rule | None:
    if spec.burst is not None:
        reason = "burst is for rateLimit.local: a service counts requests in windows, and has no buckets"
        context.problem("F103", *path, "burst", reason=reason)
        return None
    if spec.limit.unit == "Week" and spec.limit.from_metadata is None:
        context.problem("F120", *path, "limit", "unit", reason="services do not count by weeks; by days they do")
        return None
    good = True
    for field in ("request", "response"):
        written = getattr(spec.cost, field) if spec.cost else None
        good = (written is None or _cost_fits(written, context, *path, "cost", field)) and good
    selectors = [
        resolve_selector(one, context, *path, "clientSelectors", place)
        for place, one in enumerate(spec.client_selectors)
    ]
    found = tuple(one for one in selectors if one is not None)
    if not good or len(found) < len(selectors):
        return None
    return Rule(
        limit=spec.limit.requests,
        unit=spec.limit.unit,
        from_metadata=_metadata(spec.limit.from_metadata),
        request=_cost(spec.cost.request) if spec.cost else None,
        response=_cost(spec.cost.response) if spec.cost else None,
        shared=spec.shared,
        shadow=spec.shadow_mode,
        told=spec.x_rate_limit_headers == "DraftVersion03",
        selectors=found,
    )


def _cost_fits(spec: OneCostSpec, context: Context, *path: str | int) -> bool:
    given = (spec.number is not None, spec.metadata is not None)
    if given != (spec.from_ == "Number", spec.from_ == "Metadata"):
        context.problem("F103", *path, reason=f"from {spec.from_} needs its own field and no other")
        return False
    return True


def _cost(spec: OneCostSpec | None) -> int | Metadata | None:
    if spec is None:
        return None
    return _metadata(spec.metadata) if spec.metadata else spec.number


def _metadata(spec: MetadataSpec | None) -> Metadata | None:
    return Metadata(spec.namespace, spec.key) if spec else None


def _limits(owner: str, route: str, name: str, rule: Rule) -> list[RateLimit]:
    """What is asked for one rule: when a request comes, and with a cost of responses when its answer has ended."""
    length = max(1, entries(rule.selectors, name))
    common = [_constant("policy", owner)] + ([] if rule.shared else [_constant("route", route)])
    found: list[RateLimit] = []
    for selector in rule.selectors or (Selector(),):
        own = [action for _, action in distinct(selector, name)]
        actions = [*common, *conditions(selector, name, length), *own]
        found.append(_limit(actions, rule, rule.request))
        if rule.response is not None:
            ended = _limit(actions, rule, rule.response)
            ended.apply_on_stream_done = True
            found.append(ended)
    return found


def _constant(key: str, value: str) -> RateLimit.Action:
    return Action(generic_key=Action.GenericKey(descriptor_key=key, descriptor_value=value))


def _limit(actions: Sequence[RateLimit.Action], rule: Rule, cost: int | Metadata | None) -> RateLimit:
    limit = RateLimit(actions=actions, x_ratelimit_option=Option.DRAFT_VERSION_03 if rule.told else Option.OFF)
    if rule.from_metadata is not None:
        metadata = limit.limit.dynamic_metadata.metadata_key
        metadata.key = rule.from_metadata.namespace
        metadata.path.add(key=rule.from_metadata.key)
    else:
        override = limit.limit.rate_limit
        override.requests_per_unit = rule.limit
        override.unit = RateLimitUnit.Value(rule.unit.upper())  # type: ignore[assignment]
    if isinstance(cost, Metadata):
        limit.hits_addend.format = f"%DYNAMIC_METADATA({cost.namespace}:{cost.key})%"
    elif cost is not None:
        limit.hits_addend.number.value = cost
    return limit


def _filter_name(value: GlobalRateLimit, shadow: bool) -> str:
    """A name that follows the filter's configuration: equal ones are one filter, whichever policies ask."""
    digest = blake2b(_filter(value, shadow).SerializeToString(deterministic=True), digest_size=4).hexdigest()
    return f"{_FILTER}/{value.backend.name}@{digest}"


def _filter(value: GlobalRateLimit, shadow: bool) -> RateLimitFilter:
    config = RateLimitFilter(
        domain=value.domain,
        timeout=duration(value.timeout),
        failure_mode_deny=value.closed and not shadow,
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers=RateLimitFilter.DRAFT_VERSION_03,
        disable_x_envoy_ratelimited_header=True,
        status_on_error=HttpStatus(code=StatusCode.InternalServerError),
        stat_prefix="shadow" if shadow else "",
    )
    config.filter_enforced.default_value.numerator = 0 if shadow else _ALL
    service = config.rate_limit_service
    service.transport_api_version = ApiVersion.V3
    service.grpc_service.envoy_grpc.cluster_name = value.backend.name
    names = (one.hostname for one in value.backend.endpoints if one.hostname)
    service.grpc_service.envoy_grpc.authority = next(names, "rate-limit")
    return config


GLOBAL_RATE_LIMIT = GlobalRateLimitFeature()
