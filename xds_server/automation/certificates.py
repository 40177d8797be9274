"""Certificates of cells' gateways: issued when they are needed, renewed before half of their life is over.

In: the names that are needed, by trust domain, and the time. Out: `Authority` values for compilation. An authority is
`DOMAIN.crt` and `DOMAIN.key` in a folder: of an operator, where nothing is ever written, or the server's own, where one
is made if there is none. Without a folder it is in memory. An authority that cannot be used has a problem in place of
certificates; what it issued before it went wrong stays in use while it is valid.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from xds_server.automation.authority import (
    BACKDATED,
    LONGEST,
    AuthorityError,
    Issuer,
    issue,
    make_root,
    read_issuer,
    start_of,
)
from xds_server.cells.authority import Authority, Leaf

_RENEWED_AT = 0.4
"""The part of a certificate's life after which it is renewed."""
_SURE = 0.9
"""The part that is ahead of a new one at least."""
_LONGEST_REST, _SHORTEST_REST = 15.0, 0.1


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where authorities are and how long their certificates live. `own`: one that is missing is made."""

    folder: Path | None = None
    own: bool = True
    lifetime: float = LONGEST


@dataclass(slots=True)
class _Domain:
    """What is known of one trust domain. Of each leaf, by name: when it `ends`, and from when to when it is `good`."""

    authority: Authority = field(default_factory=Authority)
    issuer: Issuer | None = None
    ends: dict[str, float] = field(default_factory=dict)
    good: dict[str, tuple[float, float]] = field(default_factory=dict)

    def is_good(self, name: str, now: float) -> bool:
        """Whether a leaf can stay. A clock that was put back may be before its time."""
        begins, due = self.good.get(name, (now, now))
        return begins <= now < due

    def names(self) -> list[str]:
        """The leaves that there are."""
        return list(self.good)


class Certificates:
    """The certificates that are in use."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._domains: dict[str, _Domain] = {}
        self._in_memory: dict[str, tuple[bytes, bytes]] = {}
        self._made: dict[str, float] = {}

    def renew(self, wanted: Mapping[str, Iterable[str]], now: float) -> Mapping[str, Authority]:
        """What compilation shall know: the same values as before as long as nothing is due."""
        for name in self._domains.keys() - wanted.keys():
            del self._domains[name]
        for domain, names in wanted.items():
            known = self._domains.setdefault(domain, _Domain())
            self._renew(domain, known, tuple(names), now)
        return {domain: known.authority for domain, known in self._domains.items()}

    def is_due(self, now: float) -> bool:
        """True if `renew` has something to do. Like `rest`, it may be asked while another thread renews."""
        return any(
            known.issuer is None or not all(known.is_good(name, now) for name in known.names())
            for known in self._known()
        )

    def rest(self, now: float) -> float:
        """Seconds until it is worth asking again: not so many that a clock that jumps does harm."""
        due = [moment - now for known in self._known() if known.issuer for _, moment in list(known.good.values())]
        return min([_LONGEST_REST, *(max(one, _SHORTEST_REST) for one in due)])

    def _known(self) -> list[_Domain]:
        return list(self._domains.values())

    def _renew(self, domain: str, known: _Domain, names: tuple[str, ...], now: float) -> None:
        leaves = dict(known.authority.leaves)
        if known.issuer is not None and leaves.keys() == set(names) and all(known.is_good(name, now) for name in names):
            return
        issuer, problem = None, ""
        try:
            issuer = read_issuer(*self._files(domain, now), now)
        except AuthorityError as error:
            problem = f"{self._place(domain)}: {error}"
        except OSError as error:
            problem = f"{self._place(domain)} cannot be read: {error.strerror or error}"
        if issuer is None:
            self._without(known, problem, now)
            return
        if known.authority.certificates != issuer.trusted:
            known.good.clear()  # all that the one before has issued is trusted no longer
        known.issuer = issuer
        life = min(self._keeping.lifetime, issuer.ends - now)
        for name in leaves.keys() - set(names):
            _forget(known, leaves, name)
        for name in names:
            if name not in leaves or not known.is_good(name, now):
                leaves[name] = issue(issuer, name, now, life)
                known.ends[name] = now + life * _SURE
                known.good[name] = start_of(now, life), now + life * _RENEWED_AT
        known.authority = Authority(issuer.trusted, leaves)

    def _without(self, known: _Domain, problem: str, now: float) -> None:
        """What was issued stays while it is valid; the reason why nothing more comes is told once that is over."""
        leaves = dict(known.authority.leaves)
        for name in [name for name in leaves if now >= known.ends[name]]:
            _forget(known, leaves, name)
        known.issuer = None
        if leaves:
            known.authority = replace(known.authority, leaves=leaves, problem=problem)
        else:
            known.authority = Authority(problem=problem)

    def _place(self, domain: str) -> str:
        folder = self._keeping.folder
        return str(folder / f"{domain}.crt") if folder is not None else f"the authority of {domain}"

    def _files(self, domain: str, now: float) -> tuple[bytes, bytes]:
        """Certificate and key of an authority; made where they are missing and may be made."""
        folder = self._keeping.folder
        if folder is None:
            made = self._made.get(domain)
            if made is None or now < made - BACKDATED:  # a clock that was put back is before its time
                self._in_memory[domain], self._made[domain] = make_root(domain, now), now
            return self._in_memory[domain]
        if self._keeping.own and not (folder / f"{domain}.crt").exists():
            _write(folder, domain, *make_root(domain, now))
        return (folder / f"{domain}.crt").read_bytes(), (folder / f"{domain}.key").read_bytes()


def _forget(known: _Domain, leaves: dict[str, Leaf], name: str) -> None:
    del leaves[name]
    known.ends.pop(name, None)
    known.good.pop(name, None)


def _write(folder: Path, domain: str, certificate: bytes, key: bytes) -> None:
    """Write an authority that only its owner may read. The certificate comes last: where it is, the key is, too."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, content in ((f"{domain}.key", key), (f"{domain}.crt", certificate)):
        handle, fresh = tempfile.mkstemp(prefix=f".{name}.", dir=folder)  # 0600, and nobody else's
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(folder / name)
