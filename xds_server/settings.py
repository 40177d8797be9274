"""What a server is given when it starts: choices, clocks, and whom to tell what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xds_server.automation.certificates import Keeping
from xds_server.compile import Compiled, Options
from xds_server.listening import XdsSettings
from xds_server.supervise.bootstrap import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line decides. `envoy` None: no local Envoys. `state` None: nothing is kept on disk.

    `certificates`: where the authorities of cells are, and how long their certificates live.
    """

    folders: tuple[Path, ...]
    admin: Address
    xds: XdsSettings
    options: Options
    state: Path | None = None
    envoy: Path | None = None
    host_name: str = "localhost"
    stages: tuple[str, ...] = ()
    """The stages whose cells get local Envoys; none: the first one."""
    drain: float = 5.0
    certificates: Keeping = field(default_factory=Keeping)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from: seconds since the epoch, and seconds that only ever grow."""

    wall: Callable[[], float]
    steady: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Told:
    """Whom to tell what: where the server listens, and every newly published state."""

    listening: Callable[[Mapping[str, str]], None] = lambda _: None
    published: Callable[[Compiled], None] = lambda _: None
