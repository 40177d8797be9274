"""Which requests a rate limit counts: headers, methods, path, source address, query parameters.

In: a client selector as written. Out: a `Selector` of conditions that must all hold, and of values that each get a
bucket of their own (`Distinct`). Refuses conditions without a value, and an inverted `Distinct`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.contract import Context
from xds_server.features.parts.patterns import check_regex, escape
from xds_server.spec import Bool, HeaderName, HttpMethod, Spec, Text
from xds_server.types import read_network

Value = Annotated[Text, Field(max_length=1024)]


class HeaderConditionSpec(Spec):
    """A header, or with `Distinct` a bucket for each of its values."""

    type: Literal["Exact", "RegularExpression", "Distinct"] = "Exact"
    name: HeaderName
    value: Value | None = None
    invert: Bool = False


class MethodConditionSpec(Spec):
    """A method; of several, one must fit."""

    value: HttpMethod
    invert: Bool = False


class PathConditionSpec(Spec):
    """The path, without the query. A prefix counts by whole path elements."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Value = "/"
    invert: Bool = False


class SourceConditionSpec(Spec):
    """The client's address, or with `Distinct` a bucket for each address of the range."""

    type: Literal["Exact", "Distinct"] = "Exact"
    value: Annotated[Text, Field(min_length=1, max_length=256)]
    invert: Bool = False


class QueryConditionSpec(Spec):
    """A query parameter, or with `Distinct` a bucket for each of its values."""

    type: Literal["Exact", "RegularExpression", "Distinct"] = "Exact"
    name: Annotated[Text, Field(min_length=1, max_length=256)]
    value: Value | None = None
    invert: Bool = False


class SelectorSpec(Spec):
    """Requests for which all of this is true."""

    headers: Annotated[tuple[HeaderConditionSpec, ...], Field(max_length=128)] = ()
    methods: tuple[MethodConditionSpec, ...] = ()
    path: PathConditionSpec | None = None
    source_cidr: Annotated[SourceConditionSpec | None, Field(alias="sourceCIDR")] = None
    query_params: Annotated[tuple[QueryConditionSpec, ...], Field(max_length=16)] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A header or query parameter with a value or an RE2 expression for the whole value."""

    name: str
    value: str
    regex: bool = False
    invert: bool = False


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all hold; `cidr` is (address, prefix length, inverted); names with a bucket for each value."""

    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    cidr: tuple[str, int, bool] | None = None
    distinct_headers: tuple[str, ...] = ()
    distinct_query: tuple[str, ...] = ()
    distinct_address: bool = False


def resolve_selector(spec: SelectorSpec, context: Context, *path: str | int) -> Selector | None:
    """The selector that stands at `path`; None if a part of it was refused."""
    good = True
    for number, header in enumerate(spec.headers):
        good = _check(header, context, *path, "headers", number) and good
    for number, parameter in enumerate(spec.query_params):
        good = _check(parameter, context, *path, "queryParams", number) and good
    cidr = _cidr(spec.source_cidr, context, *path, "sourceCIDR") if spec.source_cidr else None
    path_condition = _path(spec.path, context, *path, "path") if spec.path else None
    if not good or (spec.source_cidr and cidr is None) or (spec.path and path_condition is None):
        return None
    if not spec.model_fields_set or spec == SelectorSpec():
        context.problem("F120", *path, reason="an empty selector selects nothing in particular; leave it out")
        return None
    method = _method(spec.methods)
    fixed = [_condition(one) for one in spec.headers if one.type != "Distinct"]
    fixed += [one for one in (method, path_condition) if one is not None]
    selector = Selector(
        tuple(fixed),
        tuple(_condition(one) for one in spec.query_params if one.type != "Distinct"),
        cidr,
        tuple(one.name.lower() for one in spec.headers if one.type == "Distinct"),
        tuple(one.name for one in spec.query_params if one.type == "Distinct"),
        spec.source_cidr is not None and spec.source_cidr.type == "Distinct",
    )
    if selector == Selector((), (), None, (), (), False):
        context.problem("F120", *path, reason="these methods exclude nothing, so the selector selects everything")
        return None
    return selector


def _check(spec: HeaderConditionSpec | QueryConditionSpec, context: Context, *path: str | int) -> bool:
    if spec.type == "Distinct":
        if spec.invert or spec.value is not None:
            context.problem("F103", *path, reason="type Distinct takes neither a value nor invert")
            return False
        return True
    if spec.value is None:
        context.problem("F103", *path, reason=f"type {spec.type} needs a value")
        return False
    return spec.type == "Exact" or check_regex(context, spec.value, *path, "value")


def _condition(spec: HeaderConditionSpec | QueryConditionSpec) -> Condition:
    return Condition(spec.name, spec.value or "", spec.type == "RegularExpression", spec.invert)


def _cidr(spec: SourceConditionSpec, context: Context, *path: str | int) -> tuple[str, int, bool] | None:
    if spec.type == "Distinct" and spec.invert:
        context.problem("F103", *path, reason="type Distinct does not take invert")
        return None
    try:
        network = read_network(spec.value, strict=False)
    except ValueError:
        context.problem("F103", *path, "value", reason=f"'{spec.value}' is no address range such as 192.0.2.0/24")
        return None
    return str(network.network_address), network.prefixlen, spec.invert


def _path(spec: PathConditionSpec, context: Context, *path: str | int) -> Condition | None:
    """The header `:path` holds the query as well, so every comparison allows for one."""
    if spec.type == "RegularExpression":
        pattern = rf"(?:{spec.value})(?:\?.*)?"
    elif spec.type == "Exact":
        pattern = rf"{escape(spec.value)}(?:\?.*)?"
    else:
        pattern = rf"{escape(spec.value.rstrip('/'))}(?:[/?].*)?"
    if spec.type == "RegularExpression" and not check_regex(context, spec.value, *path, "value"):
        return None
    if not check_regex(context, pattern, *path, "value"):
        return None
    return Condition(":path", pattern, regex=True, invert=spec.invert)


def _method(specs: tuple[MethodConditionSpec, ...]) -> Condition | None:
    """One condition for "any of these", where some may be inverted; None if every method fits."""
    wanted = {one.value for one in specs if not one.invert}
    unwanted = {one.value for one in specs if one.invert}
    if not unwanted:
        return Condition(":method", "|".join(sorted(wanted)), regex=True) if wanted else None
    if len(unwanted) > 1 or unwanted & wanted:
        return None
    return Condition(":method", unwanted.pop(), invert=True)
