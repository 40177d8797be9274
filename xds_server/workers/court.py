"""What counts in all processes that serve, in one order: what is wanted, and what Envoys said of it.

In: snapshots; what each process hears from its Envoys. Out: frames that every process is to get, in this order. What an Envoy
says counts here first: so a version that one Envoy refused is withdrawn for those of all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from xds_server.serve.records import ProxyRecord, RefusalRecord
from xds_server.serve.sessions import Sessions
from xds_server.serve.verdicts import Verdict
from xds_server.snapshot.resource import Resource, Snapshot
from xds_server.workers import frames
from xds_server.workers.changes import change_between

_VERSIONS = 8
"""So many versions ago a resource may have been wanted that is acknowledged only now."""
_MOST, _ABOUT = 32 * 2**20, 1000
"""So many bytes are kept of what was wanted before the last publication; and what a resource has beside its body."""


class Court:
    """`send` is given what all processes are to hear. `sessions` holds what counts, and no stream."""

    def __init__(self, send: Callable[[frames.Down], None]) -> None:
        self.sessions = Sessions()
        self._send, self._recent, self._published = send, _Recent(), False

    def known(self) -> frames.Known:
        """What a process is to know that begins now."""
        return frames.Known(self.sessions.verdicts() if self._published else None)

    def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """These snapshots are wanted from now on. A gateway that is not among them keeps its last one."""
        before = {name: self.sessions.snapshot(name) for name in snapshots}
        self._recent.add(self.sessions.publish(snapshots))
        self._published = True
        now = {name: self.sessions.snapshot(name) for name in snapshots}
        self._send(
            frames.Published(
                tuple(
                    change_between(before[name], one)
                    for name, one in now.items()
                    if one is not None and one is not before[name]
                )
            )
        )

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists."""
        self.sessions.forget(gateway)
        self._send(frames.Forgotten(gateway))

    def hear(self, frame: frames.Took | frames.Refused) -> None:
        """What a process heard from an Envoy. What changes nothing goes no further."""
        found, gateway = self._found(frame.gateway, frame.resources), frame.gateway
        if not found:
            return
        if isinstance(frame, frames.Refused):
            said = [Verdict(frame.node, one, frame.response, frame.message, frame.time) for one in found]
            self.sessions.refused(gateway, said)
        elif self.sessions.is_news(gateway, frame.node, found):
            self.sessions.took(gateway, frame.node, found)
        else:
            return
        self._send(replace(frame, resources=self._named(gateway, found)))

    def blamed(self, record: ProxyRecord) -> ProxyRecord:
        """The same with the documents that made what was refused, which processes that serve do not know."""
        if not any(one.standing or one.refusal for one in record.types):
            return record
        types = []
        for one in record.types:
            standing = tuple(self._blamed(record.gateway, one.type_url, refusal) for refusal in one.standing)
            last = self._blamed(record.gateway, one.type_url, one.refusal) if one.refusal is not None else None
            types.append(replace(one, standing=standing, refusal=last))
        return replace(record, types=tuple(types))

    def _blamed(self, gateway: str, type_url: str, refusal: RefusalRecord) -> RefusalRecord:
        wanted = self.sessions.snapshot(gateway)
        named = wanted.get(type_url) if wanted is not None else {}
        found = (named.get(name) or self._recent.named(type_url, name) for name in refusal.resources)
        origins = (origin for one in found if one is not None for origin in one.origins)
        return replace(refusal, origins=tuple(dict.fromkeys(origins)))

    def _found(self, gateway: str, named: Iterable[frames.Named]) -> tuple[Resource, ...]:
        """The resources of these names that are wanted, or were until lately."""
        wanted = self.sessions.snapshot(gateway)
        found = []
        for one in named:
            if wanted is None or isinstance(one, Resource):
                continue
            now = wanted.get(one[0]).get(one[1])
            known = now if now is not None and now.version == one[2] else self._recent.get(one)
            found += [known] if known is not None else []
        return tuple(found)

    def _named(self, gateway: str, resources: Sequence[Resource]) -> tuple[frames.Named, ...]:
        wanted = self.sessions.snapshot(gateway)
        return tuple(
            (one.type_url, one.name, one.version)
            if wanted is not None and wanted.get(one.type_url).get(one.name) is one
            else one
            for one in resources
        )


class _Recent:
    """Resources that were wanted until lately, oldest first: who took one of them may say so late."""

    def __init__(self) -> None:
        self._gone: dict[tuple[str, str, str], Resource] = {}
        self._named: dict[tuple[str, str], tuple[str, ...]] = {}
        self._size = 0

    def add(self, gone: Sequence[Resource]) -> None:
        """These are not wanted any more."""
        for one in gone:
            name = one.type_url, one.name
            self._drop((*name, one.version))
            self._gone[(*name, one.version)] = one
            self._size += _size(one)
            versions = (*self._named.get(name, ()), one.version)
            self._named[name] = versions
            if len(versions) > _VERSIONS:
                self._drop((*name, versions[0]))
        while self._size > _MOST and len(self._gone) > len(gone):
            self._drop(next(iter(self._gone)))

    def _drop(self, named: tuple[str, str, str]) -> None:
        one = self._gone.pop(named, None)
        if one is None:
            return
        self._size -= _size(one)
        name = one.type_url, one.name
        self._named[name] = tuple(version for version in self._named[name] if version != one.version)
        if not self._named[name]:
            del self._named[name]

    def get(self, named: tuple[str, str, str]) -> Resource | None:
        """One of them."""
        return self._gone.get(named)

    def named(self, type_url: str, name: str) -> Resource | None:
        """The last one of this name."""
        versions = self._named.get((type_url, name))
        return self._gone[type_url, name, versions[-1]] if versions else None


def _size(one: Resource) -> int:
    return len(one.body) + _ABOUT
