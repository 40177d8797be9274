"""How much is done in one round of the event loop."""

from __future__ import annotations

import asyncio

from xds_server.serve.turns import Turns


async def test_a_few_work_in_each_round_in_the_order_in_which_they_came() -> None:
    turns, rounds, worked = Turns(3), [0], []
    over = asyncio.Event()

    def count() -> None:
        rounds[0] += 1
        if not over.is_set():
            asyncio.get_running_loop().call_soon(count)

    async def work(number: int) -> None:
        await turns.mine()
        worked.append((rounds[0], number))

    count()
    await asyncio.gather(*(work(number) for number in range(20)))
    over.set()
    assert [number for _, number in worked] == list(range(20))
    by_round = [len([one for one, _ in worked if one == wanted]) for wanted in {one for one, _ in worked}]
    assert max(by_round) == 3
    assert len(by_round) == 7


async def test_who_gave_up_takes_nobodys_turn() -> None:
    turns = Turns(1)
    tasks = [asyncio.create_task(turns.mine()) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait_for(tasks[3], 10)
    await asyncio.wait_for(turns.mine(), 10)
    assert [task.cancelled() for task in tasks] == [False, True, True, False]
