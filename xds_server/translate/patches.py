"""Patches of a Gateway's Envoy resources, once they are translated.

In: the messages of a gateway and its `PatchSet`s, in order. Out: the messages as they are served, and what became of each
set. A set is made whole or not at all: where one of its patches fails, or what comes out is no message that Envoy would
take, everything stays as it was before. Refused are other names and addresses for a resource, and what would let Envoy
read files or its environment, ask another server for configuration, or lend its own connection to the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.features.parts.api_types import load_types
from xds_server.features.parts.walk import message_type
from xds_server.graph import Gateway, Patch, PatchSet
from xds_server.translate.documents import PatchError, patched
from xds_server.translate.hidden import Hidden
from xds_server.translate.message import Translated
from xds_server.translate.payloads import Contents, settle
from xds_server.types import Condition, Key, Origin

_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type
_ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_PLACES = ("address", "additional_addresses", "api_listener", "internal_listener")
Check = Callable[[Message], str | None]
Name = tuple[str, str]


class _NotFoundError(PatchError):
    """There is no such resource."""


@dataclass(frozen=True, slots=True)
class Patched:
    """The messages, what is wrong with patches, and the Programmed condition of each policy."""

    messages: Sequence[Translated]
    problems: tuple[Diagnostic, ...] = ()
    programmed: tuple[tuple[Key, Condition], ...] = ()


@dataclass(slots=True)
class _Draft:
    """What one set changes: documents by type and name, and who changed them."""

    known: dict[Name, Translated]
    documents: dict[Name, Any] = field(default_factory=dict)
    by: dict[Name, list[Origin]] = field(default_factory=dict)
    hidden: Hidden = field(default_factory=Hidden)

    def apply(self, patch: Patch) -> None:
        """One patch. PatchError if it cannot be made."""
        name, operation = (patch.type_url, patch.name), json.loads(patch.operation)
        whole = operation.get("path") == "" and "jsonPath" not in operation
        if whole and operation["op"] == "remove":
            raise PatchError("a resource cannot be removed as a whole")
        if patch.type_url == _SECRET and (operation["op"] not in ("add", "replace") or "jsonPath" in operation):
            raise PatchError("what is secret stays in its place and is not asked about: add or replace it, by a path")
        if name not in self.documents:
            if name in self.known:
                if settle(self.known[name].whole).own:  # whatever becomes of it, it goes on leading there
                    raise PatchError(f"the {_word(name)} leads to what is the Envoy's own, so nobody changes it")
                message = self.hidden.hide(self.known[name].whole)
                self.documents[name] = json_format.MessageToDict(message, preserving_proto_field_name=True)
            elif not (whole and operation["op"] == "add"):
                raise _NotFoundError(f"the gateway has no {_word(name)}")
            elif patch.type_url == _LISTENER:
                raise PatchError("a listener cannot be added: it would take an address")
        self.hidden.check(self.documents.get(name), operation)
        self.documents[name] = patched(self.documents.get(name), operation)
        self.by.setdefault(name, []).append(patch.origin)

    def finished(self, check: Check) -> list[Translated]:
        """The changed messages. PatchError, about the last patch of a message, if one is none."""
        found = []
        for name, document in self.documents.items():
            try:
                found.append(self._message(name, document, check))
            except PatchError as error:
                raise PatchError(str(error), self.by[name][-1]) from None
        return found

    def _message(self, name: Name, document: Any, check: Check) -> Translated:
        before = self.known.get(name)
        kind = message_type(name[0])
        try:
            load_types(document)
            message = self.hidden.show(json_format.ParseDict(document, kind()))
        except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
            reason = "" if name[0] == _SECRET else f": {_words(error)}"
            raise PatchError(f"what comes out is no {_word(name)}{reason}") from None
        contents = settle(message)
        if violation := check(message):
            raise PatchError(f"Envoy would refuse the {_word(name)}: {violation}")
        whole = before.whole if before else None
        old = settle(whole) if whole else Contents()
        self._compare(name, message, whole)
        if more := sorted(contents.outside - old.outside):
            reach = "files or to the environment of Envoys, or past the server that they have"
            raise PatchError(f"a patch may not lead to {reach}: {', '.join(more)}")
        needs = self._needs(contents, old)
        if before is None:
            return Translated(name[1], message, tuple(self.by[name]), needs)
        if message == whole:
            return before
        origins = tuple(dict.fromkeys((*before.origins, *self.by[name])))
        needs = tuple(sorted({*before.needs, *needs}))
        return replace(before, message=message, origins=origins, needs=needs, rest=(), violation="")

    def _needs(self, contents: Contents, old: Contents) -> tuple[Name, ...]:
        wanted = {(_SECRET, one) for one in contents.secrets} | {(_ROUTES, one) for one in contents.tables}
        wanted -= {(_SECRET, one) for one in old.secrets} | {(_ROUTES, one) for one in old.tables}
        for need in sorted(wanted):
            if need not in self.known and need not in self.documents:
                raise PatchError(f"it refers to the {_word(need)}, which is not there")
        return tuple(sorted(wanted))

    def _compare(self, name: Name, message: Any, before: Message | None) -> None:
        """Refuse another name, and another address of a listener."""
        own = message.cluster_name if name[0] == _ENDPOINTS else message.name
        if own != name[1]:
            raise PatchError(f"the {_word(name)} cannot get another name")
        if name[0] == _LISTENER and before is not None:
            moved = [one for one in _PLACES if _value(message, one) != _value(before, one)]
            if moved:
                raise PatchError(f"a listener keeps its {moved[0].replace('_', ' ')}")


def apply_patches(gateway: Gateway, messages: Sequence[Translated], check: Check) -> Patched:
    """The messages of a gateway with all changes that can be made."""
    if not gateway.patches:
        return Patched(messages)
    known = {(_url(one.message), one.name): one for one in messages}
    problems: list[Diagnostic] = []
    programmed: list[tuple[Key, Condition]] = []
    for patches in gateway.patches:
        draft, found, missing = _Draft(known), list[Diagnostic](), False
        for patch in patches.patches:
            try:
                draft.apply(patch)
            except PatchError as error:
                missing = missing or isinstance(error, _NotFoundError)
                found.append(_problem(patches, patch.origin, error))
        try:
            changed = [] if found else draft.finished(check)
        except PatchError as error:
            changed = []
            found.append(_problem(patches, error.origin or patches.patches[-1].origin, error))
        known |= {(_url(one.message), one.name): one for one in changed}
        problems += found
        reason = "ResourceNotFound" if missing else "Invalid" if found else "Programmed"
        text = "; ".join(f"{one.span}: {one.message}" for one in found)
        programmed.append((patches.key, Condition("Programmed", not found, reason, text)))
    return Patched(tuple(known[key] for key in sorted(known)), tuple(problems), tuple(programmed))


def _problem(patches: PatchSet, origin: Origin, error: PatchError) -> Diagnostic:
    return diagnose("T131", origin.span, subject=str(origin.key), policy=str(patches.key), reason=str(error))


def _url(message: Message) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


def _word(name: Name) -> str:
    return f"{name[0].rpartition('.')[2]} '{name[1]}'"


def _words(error: Exception) -> str:
    """What the parser says, on one line and without values of what it read."""
    return str(error).partition("\n")[0].partition(": Couldn't parse")[0][:300]


def _value(message: Any, name: str) -> Any:
    value = getattr(message, name)
    return list(value) if name == "additional_addresses" else (message.HasField(name), value)
