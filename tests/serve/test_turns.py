"""How much is done in one round of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from xds_server.serve.turns import Turns, due


class Rounds:
    """An event loop on paper."""

    def __init__(self) -> None:
        self.due: deque[Callable[[], None]] = deque()

    def run(self) -> None:
        """One round."""
        for _ in range(len(self.due)):
            self.due.popleft()()


def test_a_few_work_in_each_round_in_the_order_in_which_they_came() -> None:
    rounds, worked = Rounds(), list[int]()
    turns = Turns(rounds.due.append, 3)
    for number in range(8):
        if turns.ask(lambda number=number: worked.append(number)):  # type: ignore[misc]
            worked.append(number)
    assert worked == [0, 1, 2]
    rounds.run()
    assert worked == [0, 1, 2, 3, 4, 5]
    assert not turns.ask(lambda: worked.append(8)), "who comes later does not come first"
    rounds.run()
    assert worked == [*range(9)]
    rounds.run()
    assert not rounds.due, "nothing is left to do"
    assert turns.ask(lambda: None)


@pytest.mark.parametrize(("passed", "done"), [(0.01, 2), (1.0, 125), (1.001, 126), (4.0, 500), (9.0, 500)], ids=str)
def test_what_has_to_be_done_by_now_is_known_by_the_clock(passed: float, done: int) -> None:
    assert due(500, passed, 4.0) == done


def test_without_time_all_is_to_be_done_at_once() -> None:
    assert due(500, 0.01, 0.0) == 500
