"""What may be written as `authorization` of a SecurityPolicy.

In: documents. Out: specs. What the words mean together is checked by the features that read them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.parts.locations import LocationSpec
from xds_server.spec import Bool, HeaderName, HeaderValue, HttpMethod, Spec, Text

Name = Annotated[Text, Field(min_length=1, max_length=253)]
Verdict = Literal["Allow", "Deny"]


class OperationPathSpec(Spec):
    """The path, without the query. A prefix counts by whole path elements."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[Text, Field(max_length=1024)] = "/"
    invert: Bool = False


class OperationSpec(Spec):
    """What is asked."""

    methods: Annotated[tuple[HttpMethod, ...], Field(max_length=16)] = ()
    path: OperationPathSpec | None = None


class ClaimSpec(Spec):
    """A claim, nested with dots, that must be one of the values, or a list that holds one of them."""

    name: Name
    value_type: Literal["String", "StringArray"] = "String"
    values: Annotated[tuple[Text, ...], Field(min_length=1, max_length=128)]


class TokenSpec(Spec):
    """What a checked token of this provider must say: every claim, and every scope."""

    provider: Name
    claims: Annotated[tuple[ClaimSpec, ...], Field(max_length=16)] = ()
    scopes: Annotated[tuple[Name, ...], Field(max_length=16)] = ()


class PrincipalHeaderSpec(Spec):
    """A header with one of these values. Only for headers that clients cannot set themselves."""

    name: HeaderName
    values: Annotated[tuple[HeaderValue, ...], Field(min_length=1, max_length=256)]


class PrincipalSpec(Spec):
    """Who asks. Of `clientCIDRs` one must hold the client's address, and of `clientIPGeoLocations` one must fit it."""

    client_cidrs: Annotated[tuple[Text, ...], Field(alias="clientCIDRs")] = ()
    jwt: TokenSpec | None = None
    headers: Annotated[tuple[PrincipalHeaderSpec, ...], Field(max_length=256)] = ()
    client_ip_geo_locations: Annotated[tuple[LocationSpec, ...], Field(alias="clientIPGeoLocations")] = ()


class AuthorizationRuleSpec(Spec):
    """A verdict on the requests that fit."""

    name: Name | None = None
    action: Verdict
    operation: OperationSpec | None = None
    principal: PrincipalSpec | None = None
    cel: Annotated[str | None, Field(min_length=1, max_length=4096)] = None


class AuthorizationSpec(Spec):
    """Rules in order; the first that fits decides."""

    rules: tuple[AuthorizationRuleSpec, ...] = ()
    default_action: Verdict = "Deny"
    shadow_mode: Bool = False
