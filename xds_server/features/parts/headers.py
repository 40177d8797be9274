"""Header changes as users write them, and the Envoy messages that they mean.

In: `set`, `add`, `addIfAbsent`, `remove`, `removeOnMatch`. Out: `HeaderChanges` and Envoy's mutations. `Host` and
names that start with `:` are refused, as Envoy does; values are literal, an operator such as `%REQ(x)%` has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValue as EnvoyHeader
from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValueOption
from xds_server.features.contract import Context
from xds_server.features.parts.patterns import StringMatchSpec, check_regex, string_matcher
from xds_server.features.parts.values import literal
from xds_server.spec import HeaderName, HeaderValue, Spec

OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
APPEND = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
IF_ABSENT = HeaderValueOption.ADD_IF_ABSENT
Pairs = tuple[tuple[str, str], ...]


class HeaderSpec(Spec):
    """A header and its literal value."""

    name: HeaderName
    value: HeaderValue


Headers = Annotated[tuple[HeaderSpec, ...], Field(max_length=64)]
Names = Annotated[tuple[HeaderName, ...], Field(max_length=64)]


class HeaderFilterSpec(Spec):
    """Changes of headers. What is removed goes first, so that `set` and `add` have the last word."""

    set: Headers = ()
    add: Headers = ()
    add_if_absent: Headers = ()
    remove: Names = ()
    remove_on_match: Annotated[tuple[StringMatchSpec, ...], Field(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Checked changes: (name, value) pairs, names, and (type, value) pairs of matchers on names."""

    set: Pairs = ()
    add: Pairs = ()
    add_if_absent: Pairs = ()
    remove: tuple[str, ...] = ()
    remove_on_match: Pairs = ()


def pairs(headers: tuple[HeaderSpec, ...]) -> Pairs:
    """Names and values."""
    return tuple((header.name, header.value) for header in headers)


def check_names(context: Context, field: str, names: tuple[str, ...], *path: str | int) -> bool:
    """True if Envoy lets these headers be changed; else the first bad one is reported below `path` and `field`."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        lower = name.lower()
        if lower == "host":
            context.problem("F101", *path, field, number, name=name, reason="use a URL rewrite to change the host")
            return False
        if lower in seen and field != "add":
            context.problem("F101", *path, field, number, name=name, reason=f"it is in '{field}' twice")
            return False
        seen.add(lower)
    return True


TABLE = "x-cellway-table"
"""The request header that names one of several route tables: it is written before a route is chosen, and by nobody else."""


def check_forwarded(context: Context, name: str | None, *path: str | int) -> bool:
    """True if the gateway may tell a backend something in this header (none will do); else it is reported."""
    own = ("host", "content-length", "transfer-encoding", "connection", "upgrade", TABLE)
    good = name is None or name.lower() not in own
    if not good:
        context.problem("F101", *path, name=name, reason="requests need it for themselves")
    return good


def resolve_changes(spec: HeaderFilterSpec, context: Context, *path: str | int) -> HeaderChanges | None:
    """The changes of a spec that stands at `path`; None if one of them cannot be made."""
    listed = {"set": spec.set, "add": spec.add, "addIfAbsent": spec.add_if_absent}
    good = check_names(context, "remove", spec.remove, *path)
    for field, each in listed.items():
        good = check_names(context, field, tuple(one.name for one in each), *path) and good
    for number, match in enumerate(spec.remove_on_match):
        if match.type == "RegularExpression":
            good = check_regex(context, match.value, *path, "removeOnMatch", number, "value") and good
    if not good:
        return None
    return HeaderChanges(
        pairs(spec.set),
        pairs(spec.add),
        pairs(spec.add_if_absent),
        tuple(name.lower() for name in spec.remove),
        # Envoy compares header names in lower case.
        tuple(
            (one.type, one.value if one.type == "RegularExpression" else one.value.lower())
            for one in spec.remove_on_match
        ),
    )


def option(name: str, value: str, action: HeaderValueOption.HeaderAppendAction) -> HeaderValueOption:
    """One header to add, with a literal value."""
    return HeaderValueOption(header=EnvoyHeader(key=name, value=literal(value)), append_action=action)


def mutations(changes: HeaderChanges) -> list[HeaderMutation]:
    """The changes as Envoy's mutations, in the order in which they take effect."""
    removed = [HeaderMutation(remove=name) for name in changes.remove]
    matched = [
        HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=string_matcher(kind, value)))
        for kind, value in changes.remove_on_match
    ]
    added = [
        HeaderMutation(append=option(name, value, action))
        for listed, action in ((changes.set, OVERWRITE), (changes.add, APPEND), (changes.add_if_absent, IF_ABSENT))
        for name, value in listed
    ]
    return [*removed, *matched, *added]
