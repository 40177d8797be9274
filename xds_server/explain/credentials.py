"""What guards decide that ask for a credential: without one they refuse, with one it hangs on the credential.

In: a route's configuration and a request. Out: a `Verdict`. Credentials of the request are never compared with those that
are configured, so that nobody can find one by asking.
"""

from __future__ import annotations

from collections.abc import Mapping

from xds_server.envoy_api.envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuthPerRoute
from xds_server.envoy_api.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtProvider, JwtRequirement
from xds_server.explain.predicates import Asked
from xds_server.explain.request import Request
from xds_server.explain.verdict import Verdict, answers, depends, passes

_UNAUTHORIZED = 401


def api_key(config: ApiKeyAuthPerRoute, asked: Asked) -> Verdict:
    """A key in a header, a query parameter or a cookie."""
    request = asked.request
    there = (
        (one.header and one.header.lower() in request.headers)
        or (one.query and one.query in request.query)
        or (one.cookie and one.cookie in request.cookies)
        for one in config.key_sources
    )
    if any(there) or not asked.settled:
        return depends("it has to be the key of a known client", _UNAUTHORIZED)
    names = ", ".join(dict.fromkeys(one.header or one.query or one.cookie for one in config.key_sources))
    return answers(_UNAUTHORIZED, f"no key is in {names}")


def password(asked: Asked) -> Verdict:
    """A user and a password."""
    sent = any(one.lower().startswith("basic ") for one in asked.request.headers.get("authorization", ()))
    if sent or not asked.settled:
        return depends("it has to be the password of a known user", _UNAUTHORIZED)
    return answers(_UNAUTHORIZED, "no user and no password are sent")


def token(requirement: JwtRequirement, providers: Mapping[str, JwtProvider], asked: Asked) -> Verdict:
    """A token of one of some providers; it may be that none is needed."""
    parts = list(requirement.requires_any.requirements) or [requirement]
    kinds = {one.WhichOneof("requires_type") for one in parts}
    known = [providers[one.provider_name] for one in parts if one.provider_name in providers]
    issuers = " or ".join(dict.fromkeys(one.issuer for one in known))
    if "allow_missing_or_failed" in kinds:
        return passes(f"a token of {issuers} is looked at, and none is needed")
    if any(_carries(one, asked.request) for one in known) or not asked.settled:
        return depends(f"it has to be a good token of {issuers}", _UNAUTHORIZED)
    if "allow_missing" in kinds:
        return passes(f"no token is sent, and none is needed; one of {issuers} would be checked")
    return answers(_UNAUTHORIZED, f"it needs a token of {issuers}, and sends none")


def _carries(provider: JwtProvider, request: Request) -> bool:
    """Whether something stands where the provider's tokens stand. Without places of its own: the usual two."""
    cookies, query = request.cookies, request.query
    places = provider.from_headers or provider.from_params or provider.from_cookies
    if not places:
        bearer = any("bearer " in one.lower() for one in request.headers.get("authorization", ()))
        return bearer or "access_token" in query
    return (
        any(one.name.lower() in request.headers for one in provider.from_headers)
        or any(name in query for name in provider.from_params)
        or any(name in cookies for name in provider.from_cookies)
    )
