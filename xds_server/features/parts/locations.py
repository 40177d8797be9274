"""Where an address is: what may be said of it, and the headers in which Envoy says it to its own filters.

In: `clientIPGeoLocations` as Envoy Gateway writes them, and which databases there are. Out: headers and the values that
they must have. Nobody else may write these headers: they are taken out of requests first, and backends do not get them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.features.contract import Context
from xds_server.spec import Bool, Int, Spec, Text

_PREFIX = "x-cellway-geo-"
DATABASES = ("city", "country", "asn", "isp", "anonymous")
"""What a MaxMind database is about."""
_TOLD_BY = {
    "country": ("country", "city"),
    "region": ("city",),
    "city": ("city",),
    "asn": ("asn", "isp"),
    "isp": ("isp",),
    "anon": ("anonymous",),
    "anon_vpn": ("anonymous",),
    "anon_hosting": ("anonymous",),
    "anon_tor": ("anonymous",),
    "anon_proxy": ("anonymous",),
}
_SIGNALS = {
    "is_anonymous": ("anon", "isAnonymous"),
    "is_vpn": ("anon_vpn", "isVPN"),
    "is_hosting": ("anon_hosting", "isHosting"),
    "is_tor": ("anon_tor", "isTor"),
    "is_proxy": ("anon_proxy", "isProxy"),
}


class AnonymousSpec(Spec):
    """What hides an address. All that is set must be so."""

    is_anonymous: Bool | None = None
    is_vpn: Annotated[Bool | None, Field(alias="isVPN")] = None
    is_hosting: Bool | None = None
    is_tor: Bool | None = None
    is_proxy: Bool | None = None


class LocationSpec(Spec):
    """A place or a network. All that is set must be so."""

    country: Annotated[Text | None, Field(min_length=2, max_length=2)] = None
    region: Annotated[Text | None, Field(min_length=1, max_length=16)] = None
    city: Annotated[Text | None, Field(min_length=1, max_length=128)] = None
    asn: Annotated[Int | None, Field(ge=1, le=2**32 - 1)] = None
    isp: Annotated[Text | None, Field(min_length=1, max_length=256)] = None
    anonymous: AnonymousSpec | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What a database says of an address: `field` in Envoy's words, and whether it has, or has not, the value."""

    field: str
    value: str
    wanted: bool = True

    @property
    def header(self) -> str:
        """Where filters find it."""
        return header_of(self.field)


Location = tuple[Fact, ...]


def header_of(field: str) -> str:
    """The header of a field."""
    return _PREFIX + field.replace("_", "-")


def resolve_location(spec: LocationSpec, context: Context, *path: str | int) -> Location | None:
    """All that must be so; None if nothing was said, or no database can tell, which was reported."""
    facts: list[tuple[Fact, tuple[str | int, ...]]] = []
    for field in ("country", "region", "city", "asn", "isp"):
        value = getattr(spec, field)
        if value is not None:
            told = str(value).upper() if field in ("country", "region") else str(value)
            facts.append((Fact(field, told), (*path, field)))
    for name, (field, written) in _SIGNALS.items():
        flag = getattr(spec.anonymous, name) if spec.anonymous else None
        if flag is not None:
            facts.append((Fact(field, "true", flag), (*path, "anonymous", written)))
    if not facts:
        context.problem("F130", *path, reason="a location needs something to go by, such as country")
        return None
    known = context.location_databases()
    for fact, place in facts:
        if not set(_TOLD_BY[fact.field]) & known.keys():
            hint = f"start the server with --geoip {_TOLD_BY[fact.field][0]}=/PATH"
            context.problem("F130", *place, hint=hint, reason="there is no database that tells this")
            return None
    return tuple(fact for fact, _ in facts)


def used(known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The databases in an order that does not change."""
    return tuple(sorted(known.items()))


def fields_told(databases: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What these databases tell, in Envoy's words."""
    return tuple(field for field, by in _TOLD_BY.items() if {what for what, _ in databases} & set(by))
