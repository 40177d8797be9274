"""Every Envoy: what it has, what it waits for and what it refused.

In: the xDS server's records, the local processes, and the gateways there should be. Out: JSON values for the admin
API, counts for metrics, and how far each gateway is for its status. A refusal is shown with the documents that made
what was refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from xds_server.graph import Gateway
from xds_server.observe.resources_view import short_type
from xds_server.observe.status_view import Programming
from xds_server.serve.records import ProxyRecord, RefusalRecord, Serving, TypeRecord
from xds_server.snapshot.resource import Snapshot
from xds_server.supervise.envoys import LocalEnvoy
from xds_server.types import Key

Json = dict[str, Any]
_MESSAGE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Fleet:
    """All Envoys. `local` run on this machine, and there should be one of each gateway in `expected`.

    `moment` writes a time of the records as RFC 3339. `replacing` are gateways whose local Envoys do not run as they should,
    yet. `processes` are those that serve, if they are several.
    """

    records: tuple[ProxyRecord, ...]
    local: tuple[LocalEnvoy, ...]
    expected: tuple[str, ...]
    moment: Callable[[float], str]
    replacing: tuple[str, ...] = ()
    processes: tuple[Serving, ...] = ()

    def changing(self) -> list[str]:
        """Sentences about processes that serve and do not, and about local Envoys that others are to replace."""
        problems = {one.gateway: one.problem for one in self.local}
        return [one.problem for one in self.processes if one.problem] + [
            f"the new Envoy of {name} does not come up, the one before goes on: {problem}"
            if (problem := problems.get(name))
            else f"the Envoy of {name} is being replaced"
            for name in self.replacing
        ]

    def missing(self) -> list[str]:
        """Sentences about local Envoys that should be connected and are not."""
        there = {record.gateway for record in self.records}
        running = {one.gateway for one in self.local}
        return [
            f"the Envoy of {name} {'is not connected' if name in running else 'does not run'}"
            for name in self.expected
            if name not in there
        ]

    def unsettled(self) -> list[str]:
        """Sentences about everything that is not in sync."""
        return [*self.missing(), *self.changing()] + [
            f"{record.node_id} {_what(record, one)}"
            for record in self.records
            for one in record.types
            if not one.synced
        ]

    def refused(self) -> bool:
        """Whether waiting is in vain: something was refused, and nothing that could still be taken is on its way."""
        pending = [one for record in self.records for one in record.types if not one.synced]
        return not self.missing() and bool(pending) and all(one.standing and not one.waiting_since for one in pending)

    def counts(self) -> dict[tuple[str, str], int]:
        """Envoys by gateway and state."""
        return dict(Counter((record.gateway, _state_of(record)) for record in self.records))

    def view(self, wanted: Callable[[str], Snapshot | None]) -> Json:
        """The admin API's answer. `wanted` finds what a gateway's Envoys should have."""
        local = {one.node_id: one for one in self.local}
        items = [self._proxy(record, local.get(record.node_id), wanted) for record in self.records]
        state = {"synced": not self.unsettled(), "missing": self.missing(), "changing": self.changing()}
        processes = [
            {"number": one.number, "pid": one.pid, "starts": one.starts, "streams": one.streams, "problem": one.problem}
            for one in self.processes
        ]
        return {**state, "processes": processes, "items": items}

    def _proxy(self, record: ProxyRecord, local: LocalEnvoy | None, wanted: Callable[[str], Snapshot | None]) -> Json:
        snapshot = wanted(record.gateway)
        versions = snapshot.versions if snapshot else {}
        here: Json = {"admin": local.admin, "pid": local.pid} if local else {"admin": "", "pid": 0}
        return {
            "node": record.node_id,
            "gateway": record.gateway,
            "state": _state_of(record),
            "protocol": record.protocol,
            "peer": record.peer,
            "process": record.process,
            "envoy_version": record.version,
            "locality": record.locality,
            "connected_since": self.moment(record.connected_since),
            "last_message": self.moment(record.last_message),
            **here,
            "types": {
                short_type(one.type_url): self._type(one, versions.get(one.type_url, "")) for one in record.types
            },
        }

    def _type(self, one: TypeRecord, wanted: str) -> Json:
        refusal = one.standing[0] if one.standing else one.refusal
        since = one.waiting_since or (one.standing[0].time if one.standing else 0.0) or one.acknowledged_at
        return {
            "state": _state(one),
            "since": self.moment(since) if since else None,
            "sent": one.sent,
            "acknowledged": one.acknowledged,
            "acknowledged_at": self.moment(one.acknowledged_at) if one.acknowledged_at else None,
            "wanted": wanted,
            "waits_for": "clusters that are not acknowledged" if one.held else "",
            "nack": self._refusal(refusal) if refusal else None,
            "withdrawn": sorted({name for refusal in one.standing for name in refusal.resources}),
        }

    def _refusal(self, refusal: RefusalRecord) -> Json:
        return {
            "node": refusal.node,
            "time": self.moment(refusal.time),
            "version": refusal.version,
            "message": refusal.message[:_MESSAGE_LENGTH],
            "resources": list(refusal.resources),
            "objects": [str(origin) for origin in refusal.origins],
        }


def progress(fleet: Fleet, gateways: Iterable[Gateway]) -> dict[str, Programming]:
    """How far each gateway's Envoys are, by name. A local Envoy that is not connected counts as one that is not synced.

    An Envoy that asks by the name of a group serves every gateway of the group.
    """
    states = {}
    for gateway in gateways:
        names = {gateway.name, *gateway.groups}
        found = [record for record in fleet.records if record.gateway in names]
        wanted = max(len(found), int(gateway.name in fleet.expected))
        states[gateway.name] = Programming(sum(record.synced for record in found), wanted, _blame(found))
    return states


def programming(fleet: Fleet, gateways: Iterable[Gateway]) -> dict[Key, Programming]:
    """The same by identity. Of a cell's gateway, which every stage has, the first stage's counts."""
    gateways = tuple(gateways)
    states = progress(fleet, gateways)
    return {gateway.key: states[gateway.name] for gateway in reversed(gateways)}


def rejections(fleet: Fleet) -> dict[Key, str]:
    """Every object that made something that stands refused, with what was said of it."""
    found: dict[Key, str] = {}
    for record in fleet.records:
        for one in record.types:
            for refusal in one.standing:
                for origin in refusal.origins:
                    found.setdefault(origin.key, _said(refusal))
    return found


def _blame(records: Iterable[ProxyRecord]) -> str:
    standing = (refusal for record in records for one in record.types for refusal in one.standing)
    return next((_said(refusal) for refusal in standing), "")


def _said(refusal: RefusalRecord) -> str:
    made = ", ".join(str(origin.span) for origin in refusal.origins)
    return f"refused by {refusal.node}: {refusal.message[:500]}{f' ({made})' if made else ''}"


def _state(one: TypeRecord) -> str:
    """A refusal that something else was acknowledged after is history."""
    return "synced" if one.synced else "rejected" if one.standing or one.refusal else "waiting"


def _state_of(record: ProxyRecord) -> str:
    states = {_state(one) for one in record.types}
    return next((state for state in ("rejected", "waiting") if state in states), "synced")


def _what(record: ProxyRecord, one: TypeRecord) -> str:
    name = short_type(one.type_url)
    for refusal in one.standing:
        made = "; ".join(str(origin) for origin in refusal.origins)
        who = "" if refusal.node == record.node_id else f"does not get {name} that {refusal.node} "
        return f"{who}refused{'' if who else f' {name}'}: {refusal.message[:500]}{f' (made by {made})' if made else ''}"
    if one.held:
        return f"gets {name} when new clusters are acknowledged"
    return f"has not acknowledged {name}"
