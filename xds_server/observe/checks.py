"""Is everything as it should be: this machine, the Envoy, the server and its certificates.

In: facts that somebody looked up (versions, limits, what the server answers). Out: a `Check` for each, and where the
documentation speaks of it. Nothing is looked up here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

DAYS = 14
"""A certificate that ends sooner is worth a warning."""
_IDENTITY = "-identity"
_RENEWED = 3600.0
_FILES = 4096
_WATCHES = {"max_user_watches": 8192, "max_user_instances": 128}
_SKEW = (2.0, 60.0)
_EXPIRY = re.compile(r'^cellway_certificate_expiry_timestamp_seconds\{name="([^"]*)"\} (\S+)$', re.MULTILINE)
_BUILD = re.compile(r"^cellway_build_info\{(.*)\} 1", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and the page that helps."""

    what: str
    state: Literal["ok", "warning", "failed"]
    message: str
    page: str = ""

    def json(self) -> dict[str, str]:
        """The same as JSON values."""
        return {"what": self.what, "state": self.state, "message": self.message, "page": self.page}


def python_check(version: tuple[int, ...], wanted: tuple[int, ...] = (3, 11)) -> Check:
    """The interpreter."""
    said = ".".join(map(str, version))
    good = version >= wanted
    needs = "" if good else f", and Cellway needs {'.'.join(map(str, wanted))}"
    return Check(
        "python", "ok" if good else "failed", f"Python {said}{needs}", "" if good else "docs/getting-started.md"
    )


def package_check(wanted: Mapping[str, str], there: Mapping[str, str]) -> Check:
    """The packages. `wanted`: the oldest version that will do, by name; `there`: what is installed."""
    missing = sorted(wanted.keys() - there.keys())
    old = [f"{name} {there[name]}, not {least}" for name, least in wanted.items() if _older(there.get(name), least)]
    if missing or old:
        return Check("packages", "failed", "; ".join([*(f"{one} is missing" for one in missing), *old]), _STARTED)
    return Check("packages", "ok", f"{len(wanted)} packages")


_STARTED = "docs/getting-started.md#what-you-need"


def _older(version: str | None, least: str) -> bool:
    return version is not None and _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", version)[:3])


def envoy_check(path: str, said: str, wanted: str, problem: str) -> Check:
    """The binary. `said` is what `--version` prints."""
    if problem:
        return Check("envoy", "warning", f"{problem}; only `cellway run` needs one", "docs/commands.md#run")
    found = re.search(r"/(\d+\.\d+\.\d+)/", said)
    if found is None:
        return Check("envoy", "failed", f"{path} does not say which version it is", "docs/commands.md#run")
    good = found.group(1) == wanted
    other = "" if good else f"; Cellway is made for {wanted} and tested with it"
    return Check(
        "envoy", "ok" if good else "warning", f"Envoy {found.group(1)} at {path}{other}", "" if good else _STARTED
    )


def limit_checks(files: int, inotify: Mapping[str, int | None]) -> Iterator[Check]:
    """How many files may be open, and what the kernel lets one user watch (None: not known)."""
    few = files < _FILES
    more = f", and each Envoy and each of its clients needs one: ulimit -n {_FILES}" if few else ""
    yield Check("open files", "warning" if few else "ok", f"{files}{more}", "docs/operations.md#limits" if few else "")
    small = [
        f"fs.inotify.{name} is {value}, less than {_WATCHES[name]}"
        for name, value in inotify.items()
        if value is not None and value < _WATCHES[name]
    ]
    said = "; ".join(small) + ": folders are then looked at again and again" if small else "enough"
    yield Check("inotify", "warning" if small else "ok", said, "docs/operations.md#limits" if small else "")


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server said: its state, its metrics, its Envoys, and by how many seconds its clock is ahead of ours."""

    admin: str
    not_ready: str
    metrics: str
    proxies: Mapping[str, Any]
    ahead: float | None


def server_checks(answers: Answers, version: str, now: float) -> Iterator[Check]:
    """A server that answers: ready, of this version, clocks, findings, Envoys, certificates."""
    unready = Check("server", "failed", f"not ready: {answers.not_ready}", "docs/operations.md#when-things-break")
    yield unready if answers.not_ready else Check("server", "ok", f"ready at {answers.admin}")
    build = _BUILD.search(answers.metrics)
    theirs = dict(_LABEL.findall(build.group(1))).get("version", "") if build else ""
    other = theirs != version
    more = f"; this command is {version}" if other else ""
    yield Check(
        "version", "warning" if other else "ok", f"server {theirs or '?'}{more}", "docs/operations.md" if other else ""
    )
    if answers.ahead is not None:
        yield _clock(answers.ahead)
    yield _envoys(answers.proxies)
    yield from certificate_checks(answers.metrics, now)


def no_server(admin: str, problem: str) -> Check:
    """A server that does not answer."""
    return Check("server", "failed", f"nobody answers at {admin}: {problem}", "docs/operations.md#ports")


def xds_check(xds: str, problem: str) -> Check:
    """Whether somebody listens at the xDS port."""
    if problem:
        return Check("xds", "failed", f"nobody listens at {xds}: {problem}", "docs/operations.md#ports")
    return Check("xds", "ok", f"somebody listens at {xds}")


def _clock(ahead: float) -> Check:
    small, large = _SKEW
    state: Literal["ok", "warning", "failed"]
    state = "failed" if abs(ahead) > large else "warning" if abs(ahead) > small else "ok"
    if state == "ok":
        return Check("clocks", "ok", "the server's and this one agree")
    word = "ahead" if ahead > 0 else "behind"
    return Check("clocks", state, f"the server's is {abs(ahead):.0f} s {word}; certificates go by it", _CERTIFICATES)


_CERTIFICATES = "docs/operations.md#certificates-that-end"


def _envoys(proxies: Mapping[str, Any]) -> Check:
    count = len(proxies.get("items", ()))
    if proxies.get("synced"):
        return Check("envoys", "ok", f"{count} connected, all in sync")
    missing = "; ".join(proxies.get("missing", ()))
    said = f"{count} connected, not all in sync{f': {missing}' if missing else ''}; see cellway status"
    return Check("envoys", "warning", said, "docs/operations.md#when-things-break")


def certificate_checks(metrics: str, now: float) -> Iterable[Check]:
    """Certificates that have ended or soon will; those that Cellway renews itself may have a day."""
    found = [(name, float(end) - now) for name, end in _EXPIRY.findall(metrics)]
    for name, left in sorted(found, key=lambda one: one[1]):
        soon = _RENEWED if name.endswith(_IDENTITY) else DAYS * 86400.0
        if left < 0:
            yield Check("certificate", "failed", f"{name} ended {-left / 86400:.1f} days ago", _CERTIFICATES)
        elif left < soon:
            yield Check("certificate", "warning", f"{name} ends in {left / 86400:.1f} days", _CERTIFICATES)
    good = sum(left >= (_RENEWED if name.endswith(_IDENTITY) else DAYS * 86400.0) for name, left in found)
    if good or not found:
        yield Check("certificates", "ok", f"{good} with time enough" if found else "none")
