"""How much is done in one round of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from xds_server.serve.turns import Turns


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
