"""What an issuer of tokens says of itself (OpenID Connect Discovery 1.0): endpoints that a policy leaves out.

In: a provider as written, and its description as it was fetched. Out: the provider with its endpoints, or a reported
problem. What is written counts before what is fetched. A description of another issuer is refused, and of an issuer
with TLS one that names endpoints without.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, ValidationError

from xds_server.features.contract import Context
from xds_server.features.parts.servers import parse_server, server_problem
from xds_server.features.parts.services import ServiceSpec
from xds_server.spec import Text

Url = Annotated[Text, Field(min_length=1, max_length=2048)]
_ENDPOINTS = {
    "authorizationEndpoint": "authorization_endpoint",
    "tokenEndpoint": "token_endpoint",
    "endSessionEndpoint": "end_session_endpoint",
}
_DESCRIPTION = "/.well-known/openid-configuration"


class OidcProviderSpec(ServiceSpec):
    """The provider. With `backendRefs` the token endpoint is asked there, and not at its URL's host."""

    issuer: Url
    authorization_endpoint: Url | None = None
    token_endpoint: Url | None = None
    end_session_endpoint: Url | None = None


def described(spec: OidcProviderSpec, context: Context) -> OidcProviderSpec | None:
    """The provider with all its endpoints; None if that was reported."""
    if spec.authorization_endpoint is not None and spec.token_endpoint is not None:
        return spec
    url = spec.issuer.rstrip("/") + _DESCRIPTION
    server = parse_server(url, "oidc")
    problem = place_problem(url) or (server if isinstance(server, str) else server_problem(server))
    if problem:
        context.problem("F141", "provider", "issuer", reason=problem)
        return None
    found = context.document(url)
    if found is None:
        context.problem("F144", "provider", "issuer", url=url)
        return None
    completed = _completed(spec, found.text, url) if not found.problem else found.problem
    if isinstance(completed, str):
        hint = "write authorizationEndpoint and tokenEndpoint"
        context.problem("F143", "provider", "issuer", reason=f"{url}: {completed}", hint=hint)
        return None
    return completed


def place_problem(url: str) -> str:
    """Why no issuer describes itself at this URL; empty if it may.

    Nothing else is asked for, whoever writes an issuer: other servers, those on loopback too, have nothing there.
    """
    if "?" in url or not url.endswith(_DESCRIPTION):
        return f"the URL of an issuer has no query, and its description is at {_DESCRIPTION} below it"
    return ""


def description_problem(text: str, url: str) -> str:
    """Why this is not the description that belongs at `url`; empty if it is."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(said, dict) or not isinstance(said.get("issuer"), str):
        return "it describes no issuer"
    if said["issuer"].rstrip("/") + _DESCRIPTION != url:
        return f"it describes another issuer, {said['issuer']!r:.200}"
    return ""


def _completed(spec: OidcProviderSpec, text: str, url: str) -> OidcProviderSpec | str:
    """The provider with what its description says, or what is wrong with that."""
    if problem := description_problem(text, url):
        return problem
    said: dict[str, Any] = json.loads(text)
    written = spec.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    found = {name: said[key] for name, key in _ENDPOINTS.items() if name not in written and said.get(key) is not None}
    try:
        whole = OidcProviderSpec.model_validate(written | found)
    except ValidationError as error:
        first = error.errors()[0]
        return f"its {first['loc'][0]} cannot be used: {first['msg']}"
    for name in ("authorizationEndpoint", "tokenEndpoint"):
        if name not in written | found:
            return f"it names no {name}"
    if url.lower().startswith("https:") and any(not one.lower().startswith("https:") for one in found.values()):
        return "it names an endpoint without TLS"
    return whole
