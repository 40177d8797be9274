"""The configuration of Envoy's oauth2 filter: how a session begins, what it carries, how it ends.

In: a `Session`, checked. Out: the filter and its name, which follows its content. Names of cookies carry a hash of the
policy's name, so that two policies on one host do not take each other's cookies.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from xds_server.envoy_api.envoy.extensions.filters.http.oauth2.v3.oauth_pb2 import (
    CookieConfig,
    OAuth2,
    OAuth2Config,
    OAuth2Credentials,
)
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from xds_server.envoy_api.envoy.type.matcher.v3.path_pb2 import PathMatcher
from xds_server.features.parts.patterns import exact, string_matcher
from xds_server.features.parts.values import ads, content_name, duration

_FILTER = "envoy.filters.http.oauth2"
_TIMEOUT = 10.0
_COOKIES = (
    "bearer_token_cookie_config",
    "oauth_hmac_cookie_config",
    "oauth_expires_cookie_config",
    "id_token_cookie_config",
    "refresh_token_cookie_config",
    "oauth_nonce_cookie_config",
    "code_verifier_cookie_config",
)


@dataclass(frozen=True, slots=True)
class Session:
    """What a filter must know. URLs and names are texts, empty where there is none; times in seconds, 0 for Envoy's own.

    `deny` are (header, type, value) of requests that are never redirected.
    """

    owner: str
    client: str
    cluster: str
    authorize: str
    token: str
    end_session: str
    redirect: str
    callback: str
    logout: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    access_cookie: str
    id_cookie: str
    same_site: str
    domain: str
    deny: tuple[tuple[str, str, str], ...]
    forward_access: bool
    forward_id: str
    token_ttl: float
    refresh: bool
    refresh_ttl: float
    state_ttl: float
    plain_tokens: bool
    pass_through: bool

    @property
    def secret_name(self) -> str:
        """The name of the client's secret."""
        return f"oidc/{self.owner}/client-secret"

    @property
    def key_name(self) -> str:
        """The name of the key that signs cookies."""
        return f"oidc/{self.owner}/session-key"


def filter_name(session: Session) -> str:
    """The name of its filter."""
    return content_name(f"{_FILTER}/{session.owner}", session)


def oauth_filter(session: Session) -> OAuth2:
    """The filter."""
    config = OAuth2Config(
        authorization_endpoint=session.authorize,
        end_session_endpoint=session.end_session,
        credentials=_credentials(session),
        redirect_uri=session.redirect,
        redirect_path_matcher=PathMatcher(path=exact(session.callback)),
        signout_path=PathMatcher(path=exact(session.logout)),
        forward_bearer_token=session.forward_access,
        auth_scopes=session.scopes,
        resources=session.resources,
        disable_token_encryption=session.plain_tokens,
    )
    config.token_endpoint.uri, config.token_endpoint.cluster = session.token, session.cluster
    config.token_endpoint.timeout.CopyFrom(duration(_TIMEOUT))
    config.use_refresh_token.value = session.refresh
    if session.forward_id:
        config.forward_id_token.header = session.forward_id
    for name, kind, value in session.deny:
        config.deny_redirect_matcher.add(name=name, string_match=string_matcher(kind, value))
    if session.pass_through:
        bearer = HeaderMatcher(name="authorization", string_match=string_matcher("Prefix", "Bearer "))
        config.pass_through_matcher.append(bearer)
    _set_times(config, session)
    if session.same_site:
        for name in _COOKIES:
            same_site = CookieConfig.SameSite.Value(session.same_site.upper())
            getattr(config.cookie_configs, name).same_site = same_site
    return OAuth2(config=config)


def _set_times(config: OAuth2Config, session: Session) -> None:
    if session.token_ttl:
        config.default_expires_in.CopyFrom(duration(session.token_ttl))
    if session.refresh_ttl:
        config.default_refresh_token_expires_in.CopyFrom(duration(session.refresh_ttl))
    if session.state_ttl:
        config.csrf_token_expires_in.CopyFrom(duration(session.state_ttl))


def _credentials(session: Session) -> OAuth2Credentials:
    suffix = blake2b(session.owner.encode(), digest_size=4).hexdigest()
    credentials = OAuth2Credentials(
        client_id=session.client,
        token_secret=SdsSecretConfig(name=session.secret_name, sds_config=ads()),
        hmac_secret=SdsSecretConfig(name=session.key_name, sds_config=ads()),
        cookie_domain=session.domain,
    )
    names = credentials.cookie_names
    names.bearer_token = session.access_cookie or f"AccessToken-{suffix}"
    names.id_token = session.id_cookie or f"IdToken-{suffix}"
    names.oauth_hmac = f"OauthHMAC-{suffix}"
    names.oauth_expires = f"OauthExpires-{suffix}"
    names.refresh_token = f"RefreshToken-{suffix}"
    names.oauth_nonce = f"OauthNonce-{suffix}"
    names.code_verifier = f"CodeVerifier-{suffix}"
    return credentials
