"""References to certificate authorities -> PEM text, or what is wrong with each.

In: references to ConfigMaps and Secrets, and who refers. Out: the authorities that can be used, and a problem for each
reference that cannot, in Gateway API's words. What becomes of the object that refers is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from xds_server.attach.index import Index
from xds_server.features.parts.pem import certificate_problem
from xds_server.model.core import ConfigMapBody, SecretBody
from xds_server.model.object import Object
from xds_server.types import CORE_GROUP, Key, Origin

CA_KEY = "ca.crt"


class Reference(Protocol):
    """What may be referred to by."""

    @property
    def group(self) -> str:
        """API group."""

    @property
    def kind(self) -> str:
        """Kind."""

    @property
    def name(self) -> str:
        """Name."""


@dataclass(frozen=True, slots=True)
class BadReference:
    """A reference that cannot be used: its place in the list, a reason of Gateway API, and a message."""

    number: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authorities of several references, and what is wrong with the others."""

    pem: tuple[str, ...]
    problems: tuple[BadReference, ...]
    origins: tuple[Origin, ...]


def read_authorities(refs: Iterable[Reference], source: Key, index: Index) -> Authorities:
    """What the references of the object `source` lead to."""
    found: list[str] = []
    problems: list[BadReference] = []
    origins: list[Origin] = []
    for number, ref in enumerate(refs):
        target = Key(ref.group, ref.kind, getattr(ref, "namespace", None) or source.namespace, ref.name)
        held = _held(target, source, index)
        if isinstance(held, tuple):
            problems.append(BadReference(number, *held))
            continue
        found.append(held)
        holder = index.by_key.get(target)
        origins += holder.origins if holder else ()
    return Authorities(tuple(found), tuple(problems), tuple(origins))


def _held(target: Key, source: Key, index: Index) -> str | tuple[str, str]:
    """The PEM text of one reference, or a reason and a message."""
    if (target.group, target.kind) not in ((CORE_GROUP, "ConfigMap"), (CORE_GROUP, "Secret")):
        return "InvalidKind", f"authorities are in a ConfigMap or a Secret, not in a {target.kind} of '{target.group}'"
    if not index.permitted(source, target):
        message = f"{target} is in another namespace and no ReferenceGrant there permits {source.kind} of "
        return "RefNotPermitted", message + source.namespace
    holder = index.by_key.get(target)
    if holder is None:
        return "InvalidCACertificateRef", f"there is no {target}"
    text = _ca(holder)
    if text is None:
        return "InvalidCACertificateRef", f"{target} has no key {CA_KEY}"
    if problem := certificate_problem(text):
        return "InvalidCACertificateRef", f"{target} {problem}"
    return text.decode()


def _ca(holder: Object) -> bytes | None:
    if isinstance(holder.spec, ConfigMapBody):
        text = holder.spec.data.get(CA_KEY)
        return text.encode() if text is not None else None
    assert isinstance(holder.spec, SecretBody)
    return holder.spec.values().get(CA_KEY)
