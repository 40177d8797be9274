"""What limits and faults a request meets: how much, which part of it this request takes, and with what chance.

In: a route's configuration and a request. Out: a `Verdict`, which is sure only where chance and counts have no say.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RateLimit
from xds_server.envoy_api.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.envoy_api.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.envoy_api.envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from xds_server.envoy_api.envoy.type.v3.token_bucket_pb2 import TokenBucket
from xds_server.explain.matching import header_fits, parameter_fits
from xds_server.explain.predicates import Asked, in_ranges
from xds_server.explain.verdict import Verdict, answers, depends, passes

_TOO_MANY = 429
_UNLIMITED = 2**32 - 1
_DENOMINATORS = (100, 10_000, 1_000_000)


def local(config: LocalRateLimit, asked: Asked) -> Verdict:
    """Buckets of this Envoy alone."""
    described = {tuple(entry.key for entry in one.entries): one for one in config.descriptors}
    fitting: list[str] = []
    for limit in config.rate_limits:
        entries = [_entry(action, asked) for action in limit.actions]
        found = described.get(tuple(key for key, _ in entries))
        if found is not None and False not in (fits for _, fits in entries):
            maybe = "perhaps " if None in (fits for _, fits in entries) else ""
            watched = ", only counted" if found.shadow_mode else ""
            fitting.append(f"{maybe}{_bucket(found.token_bucket)}{watched}")
    if not any(not one.startswith("perhaps ") for one in fitting) and config.token_bucket.max_tokens != _UNLIMITED:
        fitting.append(_bucket(config.token_bucket))
    if not fitting:
        return passes("no limit is for it")
    text = f"it takes one of {'; one of '.join(dict.fromkeys(fitting))}"
    if config.filter_enforced.default_value.numerator == 0:
        return passes(f"{text}, and nothing is refused")
    return depends(text, _TOO_MANY)


def counted_elsewhere(config: RateLimitPerRoute, asked: Asked) -> Verdict:
    """Counts that a service keeps for all Envoys."""
    said = [_asked_of_service(one, asked) for one in config.rate_limits]
    found = [one for one in said if one]
    return depends("; ".join(dict.fromkeys(found)), _TOO_MANY) if found else passes("no limit is for it")


def _asked_of_service(limit: RateLimit, asked: Asked) -> str:
    fits = [_entry(action, asked)[1] for action in limit.actions]
    if False in fits:
        return ""
    cost, when = "1", "when its answer has ended" if limit.apply_on_stream_done else "at once"
    if limit.HasField("hits_addend"):
        addend = limit.hits_addend
        cost = f"what {addend.format} says" if addend.format else str(addend.number.value)
    given = limit.limit.rate_limit
    amount = f"{given.requests_per_unit} in a {RateLimitUnit.Name(given.unit).lower()}"
    if limit.limit.HasField("dynamic_metadata"):
        amount = "a limit that a filter before has found"
    return f"{'perhaps ' if None in fits else ''}it takes {cost} of {amount}, {when}"


def _entry(action: RateLimit.Action, asked: Asked) -> tuple[str, bool | None]:
    """The key of the entry that an action makes, and whether it makes one for this request."""
    request, kind = asked.request, action.WhichOneof("action_specifier")
    fits: bool | None = None
    if kind == "generic_key":
        return action.generic_key.descriptor_key or "generic_key", True
    if kind == "header_value_match":
        match = action.header_value_match
        if asked.settled or all(one.name.startswith(":") for one in match.headers):
            fits = all(header_fits(one, request) for one in match.headers)
        return match.descriptor_key or "header_match", fits
    if kind == "query_parameter_value_match":
        query = action.query_parameter_value_match
        wanted = query.expect_match.value or not query.HasField("expect_match")
        return query.descriptor_key, all(parameter_fits(one, request) for one in query.query_parameters) == wanted
    if kind == "remote_address_match":
        remote = action.remote_address_match
        inside = in_ranges(request.source, remote.address_matcher.ranges)
        return remote.descriptor_key, None if inside is None else inside != remote.address_matcher.invert_match
    if kind == "request_headers":
        name = action.request_headers.header_name.lower()
        known = asked.settled or name.startswith(":")
        return action.request_headers.descriptor_key, name in request.headers if known else None
    if kind == "query_parameters":
        return action.query_parameters.descriptor_key, action.query_parameters.query_parameter_name in request.query
    return kind or "", True if kind == "remote_address" else None


def _bucket(bucket: TokenBucket) -> str:
    seconds = bucket.fill_interval.seconds + bucket.fill_interval.nanos / 1e9
    return f"{bucket.tokens_per_fill.value} in {seconds:g} s (up to {bucket.max_tokens} at once)"


def fault(config: HTTPFault) -> Verdict:
    """Delays and answers by chance."""
    said: list[str] = []
    if config.HasField("delay"):
        wait = config.delay.fixed_delay.seconds + config.delay.fixed_delay.nanos / 1e9
        said.append(f"{_percent(config.delay.percentage):g} % wait {wait:g} s")
    if not config.HasField("abort"):
        return passes(_joined(said) or "no fault")
    status, share = config.abort.http_status, _percent(config.abort.percentage)
    what = f"status {status}" if status else f"gRPC status {config.abort.grpc_status}"
    text = _joined([*said, f"{share:g} % are answered with {what}"])
    if share >= 100 and status:
        return answers(status, text)
    return depends(text, status) if share else passes(text)


def _percent(share: FractionalPercent) -> float:
    return 100 * share.numerator / _DENOMINATORS[share.denominator]


def _joined(said: Iterable[str]) -> str:
    return ", ".join(said)
