"""Cookies that a request must have, as an HTTPRouteFilter writes them: further matches of the rules that name it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.features.parts.patterns import regex_problem
from xds_server.spec import Spec, Text


class CookieMatch(Spec):
    """A cookie, compared exactly or by an expression for its whole value."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: Annotated[Text, Field(min_length=1, max_length=256)]
    value: Annotated[Text, Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _usable(self) -> CookieMatch:
        if self.type == "RegularExpression" and (problem := regex_problem(self.value)):
            raise ValueError(f"this is no regular expression that Envoy takes (RE2): {problem}")
        return self


class FilterMatch(Spec):
    """Cookies that a request must have all of."""

    cookies: Annotated[tuple[CookieMatch, ...], Field(min_length=1, max_length=16)]
