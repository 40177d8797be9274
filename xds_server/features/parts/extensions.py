"""What the extensions of Envoy have in common: their places in a chain, and being switched on for a route.

In: the extensions of several routes, each with its number in its policy. Out: filters by name, in the order in which every
one of these policies lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.features.contract import Context, enable

HINT = "the operator of the server permits it by --allow-extensions NAMESPACE"
Placed = tuple[str, Message]


def permitted(context: Context, what: str, *path: str | int) -> bool:
    """True if whoever wrote this may run code in Envoys; else it is reported."""
    namespace = context.namespace(*path)
    if context.may_extend(*path):
        return True
    context.problem("A150", *path, hint=HINT, what=what, namespace=namespace)
    return False


def filter_name(kind: str, owner: str, number: int, config: Message) -> str:
    """A name that follows the filter's configuration: `KIND/NAMESPACE/POLICY/NUMBER@8 digits`."""
    content = config.SerializeToString(deterministic=True)
    return f"{kind}/{owner}/{number}@{blake2b(content, digest_size=4).hexdigest()}"


def in_order(found: Iterable[tuple[int, str, Message]]) -> tuple[Placed, ...]:
    """Filters by number and name, each once: what comes first in one policy comes before what is second in any."""
    named = {name: (number, message) for number, name, message in found}
    return tuple((name, message) for name, (_, message) in sorted(named.items(), key=lambda one: one[1][0]))


def switch_on(route: Route, name: str) -> None:
    """Switch a filter on for a route, as it is in the chain."""
    enable(route, name, FilterConfig(config=AnyMessage()))
