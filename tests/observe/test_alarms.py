"""Each thing that an operator has to hear of is said once."""

from __future__ import annotations

from tests.serve.fleet import fleet
from xds_server.observe.alarms import Alarms


def test_a_refusal_is_said_once_and_again_when_it_is_another() -> None:
    server, alarms = fleet("LDS a1"), Alarms()
    one = server.ready("one", "LDS")
    assert list(alarms.look(server.sessions.records(), one.now)) == []
    server.change("LDS a2")
    one.poll()
    one.nack("LDS", "a is bad")
    said = list(alarms.look(server.sessions.records(), one.now))
    assert said == [("refused", {"node": "one", "type": "Listener", "message": "a is bad", "made_by": []})]
    assert list(alarms.look(server.sessions.records(), one.now + 1)) == []
    one.ack("LDS")
    server.change("LDS a3")
    one.poll()
    one.nack("LDS", "a is bad, too")
    assert [event for event, _ in alarms.look(server.sessions.records(), one.now)] == ["refused"]


def test_an_update_without_an_answer_is_late_after_a_while() -> None:
    server, alarms = fleet("LDS a1"), Alarms()
    one = server.client("one")
    one.ask("LDS")
    assert list(alarms.look(server.sessions.records(), one.now + 19)) == []
    late = ("an update is not acknowledged", {"node": "one", "type": "Listener", "seconds": 21})
    assert list(alarms.look(server.sessions.records(), one.now + 21)) == [late]
    assert list(alarms.look(server.sessions.records(), one.now + 30)) == []


def test_a_certificate_is_told_of_before_it_ends_and_when_it_has() -> None:
    alarms, day = Alarms(), 86400.0
    valid = {"year": (0.0, 365 * day), "day": (0.0, day), "later": (400 * day, 500 * day)}

    def said(today: float) -> list[tuple[str, str]]:
        return [(event, words["certificate"]) for event, words in alarms.look((), 0.0, valid, today)]

    assert said(0.5 * day) == [("a certificate is not valid yet", "later")]
    assert said(0.7 * day) == [("a certificate ends soon", "day")]
    assert said(0.8 * day) == []
    assert said(359 * day) == [("a certificate ends soon", "year"), ("a certificate has expired", "day")]
    assert said(366 * day) == [("a certificate has expired", "year")]
    assert list(alarms.look((), 0.0, valid, 366 * day)) == []
