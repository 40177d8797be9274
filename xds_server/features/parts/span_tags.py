"""What a span says, and how many there are, as values and as Envoy's messages.

In: the parts of `telemetry.tracing` that Gateways and routes have in common. Out: checked values, or reported problems;
tags and fractions for Envoy. Nothing reads the environment of an Envoy: policies are not for finding out what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from xds_server.envoy_api.envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.features.contract import Context
from xds_server.features.parts.log_formats import format_problem
from xds_server.features.parts.tracing_specs import CustomTagSpec, TracingSpec
from xds_server.spec import Fraction

ALL = 1_000_000
"""Shares are counted in millionths."""
_FIELDS = {"Literal": "literal", "Environment": "environment", "RequestHeader": "requestHeader"}


@dataclass(frozen=True, slots=True)
class Tag:
    """A text, the name of a header with what stands in for it, or a format."""

    name: str
    kind: Literal["literal", "header", "format"]
    value: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Spans:
    """Shares in millionths, None where nothing is said; `names` of both spans as formats, empty: Envoy's own."""

    share: int | None
    client_share: int | None
    overall_share: int | None
    tags: tuple[Tag, ...]
    names: tuple[str, str]

    @property
    def samples(self) -> bool:
        """True if it says how many requests are traced."""
        return (self.share, self.client_share, self.overall_share) != (None, None, None)


def millionths(written: Fraction | None, context: Context, *path: str | int) -> int | None:
    """The share; None if there is none, or after one that is more than all was reported."""
    if written is None:
        return None
    if written.numerator > written.denominator:
        reason = f"{written.numerator} of {written.denominator} is more than all"
        context.problem("F103", *path, reason=reason)
        return None
    return written.numerator * ALL // written.denominator


def resolve_spans(spec: TracingSpec, context: Context, *path: str | int) -> Spans | None:
    """What a spec at a path means; None after a problem was reported."""
    shares = [
        (one, millionths(one, context, *path, name))
        for name, one in (
            ("samplingFraction", spec.sampling_fraction),
            ("clientSamplingFraction", spec.client_sampling_fraction),
            ("overallSamplingFraction", spec.overall_sampling_fraction),
        )
    ]
    tags = _tags(spec, context, *path)
    named = (spec.span_name.client, spec.span_name.server) if spec.span_name else ("", "")
    for field, text in zip(("client", "server"), named, strict=True):
        if problem := format_problem(text):
            context.problem("F103", *path, "spanName", field, reason=problem)
            return None
    if tags is None or any(written and share is None for written, share in shares):
        return None
    first, second, third = (share for _, share in shares)
    return Spans(first, second, third, tags, named)


def _tags(spec: TracingSpec, context: Context, *path: str | int) -> tuple[Tag, ...] | None:
    found: dict[str, Tag] = {}
    for name, written in sorted((spec.custom_tags or {}).items()):
        tag = _custom(name, written, context, *path, "customTags", name)
        if tag is None:
            return None
        found[name] = tag
    for name, text in sorted((spec.tags or {}).items()):
        problem = f"'{name}' is in customTags, too" if name in found else format_problem(text)
        if problem:
            context.problem("F103", *path, "tags", name, reason=problem)
            return None
        found[name] = Tag(name, "format", text)
    return tuple(found[name] for name in sorted(found))


def _custom(name: str, spec: CustomTagSpec, context: Context, *path: str | int) -> Tag | None:
    given = {"Literal": spec.literal, "Environment": spec.environment, "RequestHeader": spec.request_header}
    if [kind for kind, one in given.items() if one is not None] != [spec.type]:
        context.problem("F103", *path, reason=f"type {spec.type} needs the field {_FIELDS[spec.type]} and no other")
        return None
    if spec.environment is not None:
        reason = "a policy reads nothing of the environment of an Envoy, where secrets may be"
        hint = "write the value as a literal, or as an attribute of the collector's resource"
        context.problem("F103", *path, "environment", reason=reason, hint=hint)
        return None
    if spec.request_header is not None:
        return Tag(name, "header", spec.request_header.name, spec.request_header.default_value or "")
    return Tag(name, "literal", spec.literal.value if spec.literal else "")


def custom_tags(tags: Iterable[Tag]) -> list[CustomTag]:
    """Tags as Envoy takes them."""
    found = []
    for tag in tags:
        built = CustomTag(tag=tag.name)
        if tag.kind == "literal":
            built.literal.value = tag.value
        elif tag.kind == "format":
            built.value = tag.value
        else:
            built.request_header.name, built.request_header.default_value = tag.value, tag.default
        found.append(built)
    return found


def fraction(share: int) -> FractionalPercent:
    """A share as Envoy takes it where it takes any."""
    return FractionalPercent(numerator=share, denominator=FractionalPercent.MILLION)
