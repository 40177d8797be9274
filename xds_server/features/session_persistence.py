"""Session persistence: the requests of one client stay with one endpoint.

In: `sessionPersistence` of a rule. Out: Envoy's stateful session filter, by a cookie that the gateway sets or by a
header that the client sends back. A session ends when its endpoint does: the request then goes to another, which
starts a new one. What Envoy cannot keep is refused: idle timeouts, and an end for sessions without a permanent cookie.
Follows SessionPersistence of Gateway API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from xds_server.envoy_api.envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from xds_server.envoy_api.envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from xds_server.envoy_api.envoy.type.http.v3.cookie_pb2 import Cookie
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec

# What may stand in the name of a cookie and of a header alike.
SessionName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~`]+$")]


class CookieConfigSpec(Spec):
    """Whether the cookie ends with the browser's session or at a time."""

    lifetime_type: Literal["Permanent", "Session"] = "Session"


class SessionPersistenceSpec(Spec):
    """How a client's requests are recognised, and for how long."""

    session_name: SessionName | None = None
    absolute_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfigSpec | None = None


@dataclass(frozen=True, slots=True)
class SessionPersistence:
    """`name` empty: one of the rule's own. `lifetime` of the cookie in seconds, 0 for the browser's session."""

    name: str
    header: bool
    lifetime: float = 0.0


class SessionPersistences(Feature[SessionPersistenceSpec, SessionPersistence]):
    """`sessionPersistence` of a rule."""

    name = "session_persistence"
    carriers = (("HTTPRoute.rule", "sessionPersistence"),)
    filter_name = "envoy.filters.http.stateful_session"

    def resolve(self, spec: SessionPersistenceSpec, context: Context) -> SessionPersistence | None:
        """The session, or None if its parts contradict each other or Envoy cannot keep them."""
        permanent = spec.cookie_config is not None and spec.cookie_config.lifetime_type == "Permanent"
        if spec.idle_timeout is not None:
            context.problem(
                "F102", "idleTimeout", field="idleTimeout", hint="absoluteTimeout works with a permanent cookie"
            )
            return None
        if spec.type == "Header" and spec.cookie_config is not None:
            context.problem("F103", "cookieConfig", reason="cookieConfig belongs to type Cookie, this is Header")
            return None
        if permanent and not seconds(spec.absolute_timeout):
            context.problem("F103", "cookieConfig", reason="a permanent cookie needs an absoluteTimeout above 0s")
            return None
        if not permanent and spec.absolute_timeout is not None:
            reason = "absoluteTimeout needs cookieConfig.lifetimeType Permanent: only such a cookie has an end"
            context.problem("F103", "absoluteTimeout", reason=reason)
            return None
        return SessionPersistence(spec.session_name or "", spec.type == "Header", seconds(spec.absolute_timeout) or 0.0)

    def http_filter(self, values: Sequence[SessionPersistence]) -> StatefulSession:
        """The filter itself knows no session; routes do."""
        return StatefulSession()

    def route(self, value: SessionPersistence, route: Route) -> None:
        """The session of this rule."""
        if not route.HasField("route"):
            return
        name = value.name or f"cellway-session-{_digest(route.name)}"
        state: Message
        if value.header:
            kind, state = "header", HeaderBasedSessionState(name=name)
        else:
            kind, state = "cookie", CookieBasedSessionState(cookie=Cookie(name=name, path="/"))
            state.cookie.ttl.CopyFrom(duration(value.lifetime))
        session = StatefulSession()
        session.session_state.CopyFrom(
            TypedExtensionConfig(name=f"envoy.http.stateful_session.{kind}", typed_config=pack(state))
        )
        enable(route, self.filter_name, StatefulSessionPerRoute(stateful_session=session))


def _digest(name: str) -> str:
    """The same for all matches of a rule, different for different rules."""
    return blake2b(name.partition("/match/")[0].encode(), digest_size=4).hexdigest()


SESSION_PERSISTENCE = SessionPersistences()
