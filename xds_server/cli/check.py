"""`cellway check`: is everything as it should be, and if not, where to read on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, DEFAULT_XDS, Admin, Color, EnvoyPath, Xds
from xds_server.cli.output import FOUND, console

if TYPE_CHECKING:
    from rich.console import Console

    from xds_server.observe.checks import Answers, Check
    from xds_server.supervise.bootstrap import Address

_PATIENCE = 5.0
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)[^>=]*>=([0-9.]+)")
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def check(
    no_server: Annotated[bool, typer.Option("--no-server", help="Look at this machine only.")] = False,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    envoy: EnvoyPath = None,
    color: Color = "auto",
    admin: Admin = DEFAULT_ADMIN,
    xds: Xds = DEFAULT_XDS,
) -> None:
    """Check versions, limits, clocks, certificates, and whether server and Envoys answer. Exit code 1 if something failed.

    Example: cellway check --no-server
    """
    import json

    found = [*_machine(envoy), *(() if no_server else _server(admin, xds))]
    if output == "json":
        print(json.dumps({"items": [one.json() for one in found]}, indent=2))
    else:
        _print(found, console(color))
    if any(one.state == "failed" for one in found):
        raise typer.Exit(FOUND)


def _print(found: list[Check], out: Console) -> None:
    from rich.text import Text

    for one in found:
        page = f" ({one.page})" if one.page else ""
        out.print(Text.assemble((f"{one.state:<7}", _STYLES[one.state]), f"  {one.what}: {one.message}{page}"))


def _machine(option: Path | None) -> Iterator[Check]:
    import resource
    import sys

    from xds_server.observe.checks import limit_checks, package_check, python_check

    yield python_check(sys.version_info[:3])
    yield package_check(*_packages())
    yield _envoy(option)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    names = ("max_user_watches", "max_user_instances")
    yield from limit_checks(files if files >= 0 else sys.maxsize, {name: _kernel(name) for name in names})


def _packages() -> tuple[dict[str, str], dict[str, str]]:
    """What Cellway needs at least, and what of it there is."""
    from importlib import metadata

    needs = (_REQUIREMENT.match(one) for one in metadata.requires("cellway") or () if "extra ==" not in one)
    wanted = {found.group(1): found.group(2) for found in needs if found}
    there = {}
    for name in wanted:
        try:
            there[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return wanted, there


def _envoy(option: Path | None) -> Check:
    import os
    import subprocess

    from xds_server.observe.checks import envoy_check
    from xds_server.supervise.binary import ENVOY_VERSION, NoEnvoyError, find_envoy

    try:
        binary = find_envoy(option, os.environ, Path.cwd())
        said = subprocess.run(  # noqa: S603 (the binary that the user chose)
            [str(binary), "--version"], capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE
        )
    except (NoEnvoyError, OSError, subprocess.TimeoutExpired) as error:
        return envoy_check("", "", ENVOY_VERSION, str(error))
    return envoy_check(str(binary), said.stdout, ENVOY_VERSION, "")


def _kernel(name: str) -> int | None:
    try:
        return int(Path(f"/proc/sys/fs/inotify/{name}").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _server(admin: str, xds: str) -> Iterator[Check]:
    import http.client

    from xds_server import __version__
    from xds_server.cli.output import trouble
    from xds_server.observe.checks import no_server, server_checks, xds_check
    from xds_server.supervise.bootstrap import parse_address

    try:
        place, other = parse_address(admin), parse_address(xds)
    except ValueError as error:
        trouble(str(error))
    try:
        yield from server_checks(_answers(admin, place), __version__, time.time())
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield no_server(admin, str(error))
    yield xds_check(xds, _listens(other))


def _answers(admin: str, place: Address) -> Answers:
    import json
    from email.utils import parsedate_to_datetime

    from xds_server.observe.checks import Answers

    status, ready, date = _get(place, "/readyz")
    _, metrics, _ = _get(place, "/metrics")
    _, proxies, _ = _get(place, "/api/v1/proxies")
    ahead = parsedate_to_datetime(date).timestamp() - time.time() if date else None
    return Answers(admin, "" if status == 200 else ready.strip(), metrics, json.loads(proxies), ahead)


def _get(place: Address, path: str) -> tuple[int, str, str]:
    """Status, body and date of a GET."""
    import http.client

    connection = http.client.HTTPConnection(place.host, place.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", errors="replace"), answer.headers.get("date", "")
    finally:
        connection.close()


def _listens(place: Address) -> str:
    """Why nobody can be connected to; empty if somebody can."""
    import socket

    try:
        socket.create_connection((place.host, place.port), _PATIENCE).close()
    except OSError as error:
        return str(error)
    return ""
