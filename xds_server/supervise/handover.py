"""One Envoy takes over from another, and no request is lost.

In: a running Envoy and what is to run in its place. Out: the new one, which serves, while the old one finishes what it has
begun and then ends; or a sentence why there is none, and the old one goes on as before. The new Envoy gets the
listening sockets themselves, so connections that wait in them are not lost (docs/decisions/0010).
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from xds_server.files import write_file
from xds_server.serve.tokens import without_words
from xds_server.supervise.command import Launch, handover_version, options_of_process, shared_memory
from xds_server.supervise.process import Envoy, is_live, is_settled, kill_envoy, start_envoy, stop_envoy
from xds_server.supervise.records import StateFolder

_POLL = 0.05
_CHECKING = 20.0
_COMING = 60.0
_LAYOUT = "11.104"
"""The layout of the memory below: its version, and its size."""
_FLAGS = slice(96, 104)
_BEGUN, _NOTHING = (1).to_bytes(8, "little"), bytes(8)


def can_hand_over(old: Envoy, binary: Path) -> bool:
    """Whether an Envoy of this binary can get the sockets of that one."""
    return old.record.family >= 0 and old.record.version == handover_version(binary) != ""


async def refusal(binary: Path, home: Path, launch: Launch) -> str:
    """What Envoy itself has against a bootstrap and options, before anybody depends on them; empty if nothing."""
    path = home / "next.yaml"
    write_file(path, launch.bootstrap, lasting=False)
    command = [str(binary), "--mode", "validate", "--disable-hot-restart", "-c", str(path), *options_of_process(launch)]
    try:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, errors="replace", timeout=_CHECKING, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = (done.stderr or done.stdout).strip().splitlines()  # the last one says what is wrong
    return "" if done.returncode == 0 else (without_words(lines[-1]) if lines else f"exit code {done.returncode}")


async def hand_over(old: Envoy, binary: Path, launch: Launch, state: StateFolder) -> Envoy | str:
    """Start an Envoy in place of `old`: the new one, once it serves, or why it does not."""
    if reason := await refusal(binary, old.home, launch):
        return f"Envoy refuses its bootstrap: {reason}"
    state.remember_former(old.record)
    try:
        new = start_envoy(binary, old.home, old.seat.next(), launch)
    except OSError as error:
        state.forget_former(old.record)
        return f"it cannot be started: {error}"
    state.record(new.record)
    taken = False
    try:
        taken = await _comes(new)
        if taken:
            return new
        reason = new.why() or "it has no configuration yet"
    finally:
        if not taken:  # in whatever way this ends, two are never left where one is looked after
            await asyncio.shield(asyncio.create_task(_undo(old, new, state)))
    return reason


async def _comes(new: Envoy) -> bool:
    """Whether it serves, and the old one no longer does, in time."""
    try:
        async with asyncio.timeout(_COMING):
            while new.alive:
                if await is_live(new.admin) and await is_settled(new.admin):
                    return True
                await asyncio.sleep(_POLL)
    except TimeoutError:
        pass
    return False


async def _undo(old: Envoy, new: Envoy, state: StateFolder) -> None:
    await kill_envoy(new)  # by SIGTERM it would take the old one with it
    if not old.alive:
        return
    if new.record.version == _LAYOUT and _had_its_turn(shared_memory(old.home, new.seat.family)):
        await stop_envoy(old, 0)  # it has given its sockets away: whoever looks after it starts another
        return
    state.record(old.record)
    state.forget_former(old.record)
    if not await is_live(old.admin):
        (old.folder / "admin-address").unlink(missing_ok=True)  # closed when the new one began


def _had_its_turn(path: Path) -> bool:
    """Whether an Envoy that died had taken over before. If not, another one may try.

    It marked the shared memory when it began, and nobody else would take the mark away: every later one would be told
    that somebody is starting already.
    """
    try:
        with path.open("r+b") as memory:
            content = memory.read()
            if len(content) != _FLAGS.stop or content[_FLAGS] != _BEGUN:
                return content[_FLAGS] == _NOTHING
            memory.seek(_FLAGS.start)
            memory.write(_NOTHING)
    except OSError:
        pass
    return False
