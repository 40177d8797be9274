"""Basic authentication: user names and passwords.

In: `basicAuth` of a SecurityPolicy, and the Secret with the users. Out: Envoy's basic_auth filter. A request without a
known user and password is answered with 401. Users are written as `htpasswd -s` does, one on a line, because SHA-1 is
all that Envoy knows; lines that Envoy would refuse are reported here, since one of them would cost the whole table.

`forwardUsernameHeader` can be set for a filter only, not for a route: there is one filter for each name of a header.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import DataSource
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import (
    BasicAuth as EnvoyBasicAuth,
)
from xds_server.envoy_api.envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuthPerRoute
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.secrets import SecretRefSpec, resolve_secret
from xds_server.spec import HeaderName, Spec
from xds_server.types import Secret

_KEY = ".htpasswd"
_SCHEME = "{SHA}"
_DIGEST = 20


class BasicAuthSpec(Spec):
    """The Secret whose key `.htpasswd` holds the users, and a header that tells the backend who it is."""

    users: SecretRefSpec
    forward_username_header: HeaderName | None = None


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Checked lines of a password file, and the name of a header in lower case, or empty."""

    users: Secret
    header: str


class BasicAuthFeature(Feature[BasicAuthSpec, BasicAuth]):
    """`basicAuth` of a SecurityPolicy."""

    name = "basic_auth"
    carriers = (("SecurityPolicy", "basicAuth"),)
    filter_name = "envoy.filters.http.basic_auth"
    chain_follows_routes = True
    guards = True

    def resolve(self, spec: BasicAuthSpec, context: Context) -> BasicAuth | None:
        """The users, or None if one of them cannot be used."""
        good = check_forwarded(context, spec.forward_username_header, "forwardUsernameHeader")
        held = resolve_secret(spec.users, _KEY, context, "users")
        users = _read_users(held, context) if held is not None else None
        return BasicAuth(users, (spec.forward_username_header or "").lower()) if users is not None and good else None

    def http_filters(self, values: Sequence[BasicAuth]) -> Sequence[tuple[str, EnvoyBasicAuth]]:
        """A filter without users for each header, and one for none; routes bring their users."""
        headers = sorted({"", *(value.header for value in values)})
        return tuple((_filter_name(header), _filter(header)) for header in headers)

    def route(self, value: BasicAuth, route: Route) -> None:
        """The users of this route."""
        users = DataSource(inline_bytes=value.users.value)
        enable(route, _filter_name(value.header), BasicAuthPerRoute(users=users))


def _filter_name(header: str) -> str:
    return f"{BasicAuthFeature.filter_name}/{header}" if header else BasicAuthFeature.filter_name


def _filter(header: str) -> EnvoyBasicAuth:
    return EnvoyBasicAuth(users=DataSource(inline_string="#"), forward_username_header=header)


def _read_users(held: Secret, context: Context) -> Secret | None:
    """The lines that matter; None after a bad one was reported by its number."""
    try:
        lines = held.value.decode().splitlines()
    except UnicodeDecodeError:
        context.problem("F140", "users", reason=f"{_KEY} is not UTF-8 text")
        return None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, digest = line.strip().partition(":")
        problem = "this user is there twice" if name in names else _problem(name, digest)
        if problem:
            context.problem("F140", "users", reason=f"{_KEY}, line {number}: {problem}", hint=_hint(problem))
            return None
        names[name] = digest
    if not names:
        context.problem("F140", "users", reason=f"{_KEY} holds no user")
        return None
    return Secret("".join(f"{name}:{digest}\n" for name, digest in sorted(names.items())).encode())


def _problem(name: str, digest: str) -> str:
    if not name or not digest:
        return "a line is NAME:{SHA}HASH"
    if not name.isprintable():
        return "the name holds a control character"
    if not digest.startswith(_SCHEME):
        return "Envoy knows passwords as {SHA} only"
    try:
        raw = base64.b64decode(digest.removeprefix(_SCHEME), validate=True)
    except binascii.Error:
        raw = b""
    return "" if len(raw) == _DIGEST else "the hash is no SHA-1 in base64"


def _hint(problem: str) -> str:
    return "`htpasswd -nbs NAME PASSWORD` writes such a line" if "SHA" in problem else ""


BASIC_AUTH = BasicAuthFeature()
