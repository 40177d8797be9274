"""What counts, in one process that serves: what all processes are told, in the same order.

In: frames of the court; what Envoys of this process say. Out: the same verdicts as in every other process; and frames for the
court. What an Envoy says counts here, too, only when the court has told all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from xds_server.serve.sessions import Sessions
from xds_server.serve.verdicts import Verdict
from xds_server.snapshot.resource import Resource, Snapshot
from xds_server.workers import frames
from xds_server.workers.changes import changed

_MESSAGE = 10_000
"""Characters of what an Envoy says that go on."""


class Follower:
    """Takes what Envoys say to these sessions. `send` is given what the court is to hear."""

    def __init__(self, sessions: Sessions, send: Callable[[frames.Took | frames.Refused], None]) -> None:
        self._sessions, self._send = sessions, send

    def took(self, gateway: str, node: str, resources: Iterable[Resource]) -> None:
        """An Envoy took these."""
        self._send(frames.Took(gateway, node, _named(resources)))

    def refused(self, gateway: str, said: Sequence[Verdict]) -> None:
        """An Envoy refused what is in these."""
        if said:
            one, named = said[0], _named(verdict.resource for verdict in said)
            self._send(frames.Refused(gateway, one.node, named, one.response, one.message[:_MESSAGE], one.time))

    def hear(self, frame: frames.Took | frames.Refused) -> None:
        """This counts now."""
        found = self._found(frame.gateway, frame.resources)
        if isinstance(frame, frames.Took):
            self._sessions.took(frame.gateway, frame.node, found)
        elif found:
            said = [Verdict(frame.node, one, frame.response, frame.message, frame.time) for one in found]
            self._sessions.refused(frame.gateway, said)

    def wanted(self, frame: frames.Published) -> dict[str, Snapshot]:
        """The snapshots that are wanted now, of gateways where it is others than before."""
        return {one.gateway: changed(self._sessions.snapshot(one.gateway), one) for one in frame.changes}

    def _found(self, gateway: str, named: Iterable[frames.Named]) -> tuple[Resource, ...]:
        """What is named is what is wanted here, too: all processes hear the same in the same order."""
        wanted = self._sessions.snapshot(gateway)
        if wanted is None:
            return ()
        return tuple(one if isinstance(one, Resource) else wanted.get(one[0])[one[1]] for one in named)


def _named(resources: Iterable[Resource]) -> tuple[frames.Named, ...]:
    return tuple((one.type_url, one.name, one.version) for one in resources)
