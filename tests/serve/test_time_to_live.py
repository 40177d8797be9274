"""Resources that a client drops unless it hears of them.

In: playbooks in which time passes. Out: failures where a client would drop what it shall have, or is told too often.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.serve.playbook import Client, fake
from xds_server.snapshot.resource import Snapshot, snapshot_of

BOTH = pytest.mark.parametrize("is_delta", [True, False], ids=["delta", "sotw"])


def state(*tokens: str, ttl: float = 0.0) -> Snapshot:
    return snapshot_of("default/web", (replace(fake("LDS", token), ttl=ttl) for token in tokens))


@BOTH
def test_a_client_hears_of_it_three_times_within_its_life(is_delta: bool) -> None:
    client = Client(is_delta, state("a1", "b1", ttl=9))
    assert client.ask("LDS") == ["LDS a1@9s b1@9s"]
    client.ack("LDS")
    assert client.wait(2) == []
    assert client.wait(1) == ["LDS a!@9s b!@9s"]
    assert client.ack("LDS") == []
    assert client.wait(2.9) == []
    assert client.wait(0.1) == ["LDS a!@9s b!@9s"]


@BOTH
def test_a_change_is_a_sign_of_life_too(is_delta: bool) -> None:
    client = Client(is_delta, state("a1", ttl=9))
    client.ask("LDS")
    client.ack("LDS")
    client.now += 2
    client.stream.replace_snapshot(state("a2", ttl=9))
    assert client.poll() == ["LDS a2@9s"]
    client.ack("LDS")
    assert client.wait(2) == []
    assert client.wait(1) == ["LDS a!@9s"]
    client.ack("LDS")
    assert client.stream.in_sync()


@BOTH
def test_a_life_that_no_longer_ends_is_told(is_delta: bool) -> None:
    client = Client(is_delta, state("a1", ttl=9))
    client.ask("LDS")
    client.ack("LDS")
    client.stream.replace_snapshot(state("a2"))
    assert client.poll() == ["LDS a2"]
    client.ack("LDS")
    assert client.stream.wake_at() is None


@BOTH
def test_what_was_refused_is_no_beat(is_delta: bool) -> None:
    client = Client(is_delta, state("a1", ttl=9))
    client.ask("LDS")
    client.nack("LDS")
    assert client.stream.wake_at() is None or client.wait(100) == []
