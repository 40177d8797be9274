"""Rate limits as they are written: what counts, how much, and for global limits who counts.

In: `rateLimit` of a BackendTrafficPolicy. Out: spec classes, and what both kinds of limit have in common. Refuses nothing;
the features of local and of global limits do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.parts.selectors import SelectorSpec
from xds_server.features.parts.services import ServiceSpec
from xds_server.spec import Bool, Duration, Spec, Text

Unit = Literal["Second", "Minute", "Hour", "Day", "Week", "Month", "Year"]
Count = Annotated[int, Field(strict=True, ge=0, le=2**32 - 2)]
Amount = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
Plain = Annotated[Text, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.\-/]+$")]


class MetadataSpec(Spec):
    """A value that a filter before has left for this request."""

    namespace: Plain
    key: Plain


class LimitSpec(Spec):
    """So many requests in one unit of time. With `fromMetadata` each request brings a limit of its own."""

    requests: Count
    unit: Unit
    from_metadata: MetadataSpec | None = None


class OneCostSpec(Spec):
    """How much is taken: a number, or a value that a filter has left."""

    from_: Annotated[Literal["Number", "Metadata"], Field(alias="from")]
    number: Amount | None = None
    metadata: MetadataSpec | None = None


class CostSpec(Spec):
    """What a request takes when it comes, and what more when its answer has ended."""

    request: OneCostSpec | None = None
    response: OneCostSpec | None = None


class RateLimitRuleSpec(Spec):
    """One limit, for requests that fit any of the selectors. `shadowMode` counts and refuses nothing.

    `burst` is for local limits; `shared`, `cost` and `limit.fromMetadata` are for global ones.
    """

    client_selectors: Annotated[tuple[SelectorSpec, ...], Field(max_length=8)] = ()
    limit: LimitSpec
    burst: Count | None = None
    shadow_mode: Bool = False
    x_rate_limit_headers: Literal["Off", "DraftVersion03"] = "DraftVersion03"
    shared: Bool = False
    cost: CostSpec | None = None


class LocalRateLimitSpec(Spec):
    """Limits that every Envoy process counts for itself."""

    rules: Annotated[tuple[RateLimitRuleSpec, ...], Field(min_length=1, max_length=16)]


class RateLimitServiceSpec(ServiceSpec):
    """The service that counts, by gRPC (`envoy.service.ratelimit.v3.RateLimitService`).

    Unless `failClosed`, requests pass while it does not answer.
    """

    domain: Annotated[Text, Field(min_length=1, max_length=256)] = "cellway"
    timeout: Duration = "250ms"
    fail_closed: Bool = False


class GlobalRateLimitSpec(Spec):
    """Limits that one service counts for all Envoys."""

    service: RateLimitServiceSpec | None = None
    rules: Annotated[tuple[RateLimitRuleSpec, ...], Field(min_length=1, max_length=256)]


class RateLimitSpec(Spec):
    """Limits. `type` is the older way to say which; the fields themselves say it."""

    type: Literal["Local", "Global"] | None = None
    local: LocalRateLimitSpec | None = None
    global_: Annotated[GlobalRateLimitSpec | None, Field(alias="global")] = None
