"""The written world: the base class and the field types of everything a document may say.

In: plain JSON values. Out: frozen pydantic models. A field that is not declared is refused, and a number
or a boolean is never read out of a text. Specs know nothing of other objects and nothing of Envoy.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

from xds_server.types import parse_duration, parse_quantity

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Spec(BaseModel):
    """What may be written at one place. Field names are snake_case here and camelCase in documents."""

    # Most kinds are in no document of a set: each is made ready for reading when it is first read.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=False,
        serialize_by_alias=True,
        defer_build=True,
    )


def _duration(text: str) -> str:
    if parse_duration(text) is None:
        raise ValueError(f"'{text}' is not a duration such as 500ms, 10s or 1h30m (no fractions, no days)")
    return text


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _quantity(text: str) -> str:
    if parse_quantity(text) is None:
        raise ValueError(f"'{text}' is not a whole number of bytes such as 4096, 32Ki or 1M")
    return text


def _no_control_characters(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control characters (CR, LF, NUL ...) are not allowed here")
    return text


Text = Annotated[str, AfterValidator(_no_control_characters)]
Bool = StrictBool
Int = StrictInt
UInt32 = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Duration = Annotated[str, AfterValidator(_duration)]
"""A Gateway API duration, kept as written; `xds_server.types.parse_duration` gives its seconds."""
Quantity = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_quantity)]
"""A number of bytes as Kubernetes writes it, kept as written; `xds_server.types.parse_quantity` gives the number."""
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253), AfterValidator(_no_control_characters)]
NamespaceName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=rf"^{_LABEL}$")]
GroupName = Annotated[str, StringConstraints(max_length=253, pattern=rf"^({_LABEL}(\.{_LABEL})*)?$")]
KindName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
]
SectionName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
PreciseHostname = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
Hostname = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=rf"^(\*\.)?{_LABEL}(\.{_LABEL})*$")]
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~`]+$")]
HeaderValue = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_no_control_characters)]
HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


class Fraction(Spec):
    """A share of all: numerator of denominator (100 when not said)."""

    numerator: Annotated[int, Field(strict=True, ge=0)]
    denominator: Annotated[int, Field(strict=True, ge=1)] = 100


class ObjectRef(Spec):
    """A reference to an object by name, in another namespace only where a ReferenceGrant permits it."""

    group: GroupName = ""
    kind: KindName | Literal[""] = ""
    name: ObjectName
    namespace: NamespaceName | None = None
