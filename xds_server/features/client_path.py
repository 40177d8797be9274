"""What becomes of paths that are written in unusual ways, before a route is chosen.

In: `path` of a ClientTrafficPolicy. Out: settings of the connection manager. Dot segments are always resolved
(`/a/../b` is `/b`). Without a policy paths with escaped slashes are refused and slashes beside each other are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature
from xds_server.spec import Bool, Spec

Escaped = Literal["KeepUnchanged", "RejectRequest", "UnescapeAndForward", "UnescapeAndRedirect"]
_ACTIONS = {
    "KeepUnchanged": HttpConnectionManager.KEEP_UNCHANGED,
    "RejectRequest": HttpConnectionManager.REJECT_REQUEST,
    "UnescapeAndForward": HttpConnectionManager.UNESCAPE_AND_FORWARD,
    "UnescapeAndRedirect": HttpConnectionManager.UNESCAPE_AND_REDIRECT,
}


class ClientPathSpec(Spec):
    """Escaped slashes (`%2F`, `%5C`) and slashes beside each other."""

    escaped_slashes_action: Escaped | None = None
    disable_merge_slashes: Bool | None = None


@dataclass(frozen=True, slots=True)
class ClientPath:
    """None leaves the default."""

    escaped: str | None
    merges: bool | None


class ClientPaths(Feature[ClientPathSpec, ClientPath]):
    """`path` of a ClientTrafficPolicy."""

    name = "client_path"
    carriers = (("ClientTrafficPolicy", "path"),)

    def resolve(self, spec: ClientPathSpec, context: Context) -> ClientPath:
        """Nothing can be wrong."""
        merges = None if spec.disable_merge_slashes is None else not spec.disable_merge_slashes
        return ClientPath(spec.escaped_slashes_action, merges)

    def chain(self, value: ClientPath, manager: HttpConnectionManager) -> None:
        """What is set."""
        if value.escaped is not None:
            manager.path_with_escaped_slashes_action = _ACTIONS[value.escaped]
        if value.merges is not None:
            manager.merge_slashes = value.merges


CLIENT_PATH = ClientPaths()
