"""Fields of a policy that mean nothing for what the policy is attached to.

In: a policy, one of its targets, the features. Out: a diagnostic for every such field: something that is set and has
no effect is never passed over. A Gateway with listeners of several protocols takes every field that any of them can
use; a listener or a route takes those of its own traffic.
"""

from __future__ import annotations

from collections.abc import Sequence

from xds_server.attach.index import Index
from xds_server.attach.protocols import DNS, needs_certificate
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature, Transport
from xds_server.model.gateways import GatewaySpec, ListenerSetSpec
from xds_server.model.object import Object
from xds_server.spec import Spec
from xds_server.types import Key

_BY_KIND: dict[str, Transport] = {"TCPRoute": "tcp", "TLSRoute": "tcp", "UDPRoute": "udp"}
_BY_PROTOCOL: dict[str, Transport] = {"TCP": "tcp", "TLS": "tcp", "UDP": "udp", DNS: "udp"}
_TLS_HINT = "leave it out, or attach it to a listener where TLS ends"
_WORDS: dict[Transport, str] = {"http": "requests", "tcp": "connections", "udp": "datagrams"}


def misfits(
    item: Object, kind: str, scope: tuple[Key, str], features: Sequence[AnyFeature], index: Index
) -> tuple[Diagnostic, ...]:
    """What is set in a policy and has no effect on one of its targets."""
    transports = _transports(scope, index)
    if item.broken:
        return ()
    found = []
    aliases = {info.alias or name: name for name, info in type(item.spec).model_fields.items()}
    for feature in features:
        for carrier, field in feature.carriers:
            written = getattr(item.spec, aliases[field]) if carrier == kind and field in aliases else None
            if written is None:
                continue
            if feature.needs_tls and not _ends_tls(scope, index):
                found.append(item.diagnose("A143", field, hint=_TLS_HINT, field=field, what=f"{scope[0]} without TLS"))
            else:
                found += [
                    _diagnostic(item, (field, *path), scope[0], transports)
                    for path in _without_effect(feature, written, transports)
                ]
    return tuple(found)


def _transports(scope: tuple[Key, str], index: Index) -> tuple[Transport, ...]:
    """The traffic of a target, in order."""
    target, section = scope
    known = index.by_key.get(target)
    if known is not None and isinstance(known.spec, GatewaySpec | ListenerSetSpec):
        listeners = [one for one in known.spec.listeners if section in ("", one.name)]
        return tuple(sorted({_BY_PROTOCOL.get(one.protocol, "http") for one in listeners}))
    return (_BY_KIND.get(target.kind, "http"),)


def _ends_tls(scope: tuple[Key, str], index: Index) -> bool:
    """True if TLS ends at one listener of a target at least, or if there is no such target."""
    target, section = scope
    known = index.by_key.get(target)
    if known is None or not isinstance(known.spec, GatewaySpec | ListenerSetSpec):
        return True
    return any(needs_certificate(one) for one in known.spec.listeners if section in ("", one.name))


def _without_effect(feature: AnyFeature, written: Spec, transports: Sequence[Transport]) -> list[Path]:
    """Fields that none of the transports uses."""
    unused = [list(feature.unfit(written, one)) for one in transports]
    if not unused:
        return []
    return [path for path in unused[0] if all(path in others or () in others for others in unused[1:])]


def _diagnostic(item: Object, path: Path, target: Key, transports: Sequence[Transport]) -> Diagnostic:
    words = " or ".join(_WORDS[one] for one in transports)
    field = ".".join(str(step) for step in path)
    hint = "leave it out, or attach it to what has requests"
    return item.diagnose("A143", *path, hint=hint, field=field, what=f"{words} of {target}")
