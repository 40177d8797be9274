"""Two Envoys of one gateway, in any interleaving: they end in the newest state that they accept, and never miss a piece.

In: changes, reads, refusals, reconnections and restarts chosen by hypothesis. Out: failures of `envoy_model`, or an
Envoy that ends with something else than it should have.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.serve.envoy_model import GATEWAY, Envoy, made
from tests.serve.playbook import TYPE_URLS
from xds_server.serve.sessions import Sessions
from xds_server.snapshot.resource import Snapshot, snapshot_of

ODD, BAD = 80, 90
"""Versions that one of the two Envoys refuses, and that both refuse."""
NUMBERS = st.sampled_from([1, 2, 3, 4, ODD, ODD + 1, BAD, BAD + 1])
GOOD = st.sampled_from([1, 2, 3, 4])
CLUSTERS = st.dictionaries(st.sampled_from("abc"), GOOD, max_size=3)
TABLES = st.dictionaries(st.sampled_from("rs"), st.tuples(NUMBERS, st.sets(st.sampled_from("abc"))), max_size=2)
LISTENERS = st.dictionaries(st.sampled_from("lm"), st.tuples(NUMBERS, st.sampled_from("rs")), max_size=2)
WHO = st.integers(0, 1)


def world(
    clusters: dict[str, int], tables: dict[str, tuple[int, set[str]]], listeners: dict[str, tuple[int, str]]
) -> Snapshot:
    """A consistent snapshot: nothing refers to what is not in it."""
    resources = [made("CDS", name, number, name) for name, number in clusters.items()]
    resources += [made("EDS", name, number) for name, number in clusters.items()]
    resources += [made("RDS", name, number, *sorted(uses & clusters.keys())) for name, (number, uses) in tables.items()]
    resources += [made("LDS", name, number, uses) for name, (number, uses) in listeners.items() if uses in tables]
    return snapshot_of(GATEWAY, resources)


class Fleet(RuleBasedStateMachine):
    delta = True

    @initialize(clusters=CLUSTERS, tables=TABLES, listeners=LISTENERS)
    def start(self, **parts: Any) -> None:
        self.sessions = Sessions()
        self.wanted = world(**parts)
        self.sessions.publish({GATEWAY: self.wanted})
        self.envoys = [
            Envoy(self.sessions, "one", delta=self.delta, bad=BAD),
            Envoy(self.sessions, "odd", delta=self.delta, bad=ODD),
        ]

    @rule(clusters=CLUSTERS, tables=TABLES, listeners=LISTENERS)
    def change(self, **parts: Any) -> None:
        self.wanted = world(**parts)
        self.sessions.publish({GATEWAY: self.wanted})
        self._poll()

    @rule(who=WHO)
    def read(self, who: int) -> None:
        self.envoys[who].read()
        self._poll()

    @rule(who=WHO)
    def reconnect(self, who: int) -> None:
        self.envoys[who].connect()
        self._poll()

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.envoys[who].leave()
        self.envoys[who].start()
        self._poll()

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        for envoy in self.envoys:
            envoy.now += seconds
        self._poll()

    @rule()
    def settle(self) -> None:
        for _ in range(200):
            read = [envoy.read() for envoy in self.envoys]
            if not any(read):
                self.wait(6.0)
                if not any(envoy.inbox for envoy in self.envoys):
                    break
            self._poll()
        else:
            raise AssertionError("it does not end")
        for envoy in self.envoys:
            envoy.excused = False
            self._compare(envoy)

    def _poll(self) -> None:
        for envoy in self.envoys:
            envoy.poll()

    def _compare(self, envoy: Envoy) -> None:
        """What nobody refuses it has in the newest version."""
        for short in ("LDS", "CDS"):
            for name, resource in self.wanted.get(TYPE_URLS[short]).items():
                number = int(resource.version.partition(".")[0])
                has = envoy.has[short].get(name)
                if number < ODD and not self._blocked(envoy, short, name):
                    assert has is not None, f"{envoy.node} lacks {name}"
                    assert has.number == number, f"{envoy.node} has {has}, wanted is {resource.version}"

    def _blocked(self, envoy: Envoy, short: str, name: str) -> bool:
        """A listener whose table is refused cannot serve if it never had an older one.

        And nobody can tell what a client had that comes back with the state of the world and refuses the answer.
        """
        assert envoy.session is not None
        if envoy.session.core.channels[TYPE_URLS[short]].returning:
            return True
        if short == "CDS":
            return False
        waiting = envoy.waiting.get(name)
        tables = [need for kind, need in self.wanted.get(TYPE_URLS[short])[name].needs if kind == TYPE_URLS["RDS"]]
        refused = any(int(self.wanted.get(TYPE_URLS["RDS"])[one].version.partition(".")[0]) >= ODD for one in tables)
        return refused or waiting is not None

    @invariant()
    def nothing_is_missing(self) -> None:
        for envoy in getattr(self, "envoys", ()):
            envoy.check()


class FleetOfTheStateOfTheWorld(Fleet):
    delta = False


@pytest.mark.parametrize("machine", [Fleet, FleetOfTheStateOfTheWorld], ids=["delta", "sotw"])
def test_any_interleaving(machine: type[Fleet]) -> None:
    case = machine.TestCase
    case.settings = settings(
        max_examples=300,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
