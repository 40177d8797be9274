"""JWT providers that name an identity provider of the organization and leave out its keys.

In: SecurityPolicies, written or derived. Out: the same with issuer, audiences and keys filled in where they were left
out. A provider that nobody knows stays as it is; the feature reports it and the route is closed.
"""

from __future__ import annotations

from typing import Any

from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import IdentityProvider, OrganizationSpec
from xds_server.model.object import Object
from xds_server.model.parse import parse_object

_KEYS = ("localJWKS", "remoteJWKS")


def fill_providers(item: Object, organization: OrganizationSpec) -> tuple[Object, tuple[Diagnostic, ...]]:
    """The policy with its providers complete, and what is wrong with it then."""
    spec = item.document.get("spec")
    jwt = spec.get("jwt") if isinstance(spec, dict) else None
    providers = jwt.get("providers") if isinstance(jwt, dict) else None
    if (
        spec is None
        or jwt is None
        or item.broken
        or not isinstance(providers, list)
        or not organization.identity_providers
    ):
        return item, ()
    filled = [_fill(one, organization) if isinstance(one, dict) else one for one in providers]
    if filled == providers:
        return item, ()
    document = {**item.document, "spec": {**spec, "jwt": {**jwt, "providers": filled}}}
    done, problems = parse_object(document, item.source.positions, item.made_from)
    return done or item, problems


def _fill(written: dict[str, Any], organization: OrganizationSpec) -> dict[str, Any]:
    if any(key in written for key in _KEYS):
        return written
    known = _known(written, organization)
    if known is None:
        return written
    filled = {"issuer": known.issuer, **({"audiences": list(known.audiences)} if known.audiences else {}), **written}
    if known.remote_jwks is not None:
        return filled | {"remoteJWKS": {"uri": known.remote_jwks.uri}}
    return filled | {"localJWKS": known.local_jwks}


def _known(written: dict[str, Any], organization: OrganizationSpec) -> IdentityProvider | None:
    """By name first; then by issuer. One of the right name with another issuer is another one."""
    for one in organization.identity_providers:
        if one.name == written.get("name") and written.get("issuer") in (None, one.issuer):
            return one
    return next((one for one in organization.identity_providers if one.issuer == written.get("issuer")), None)
