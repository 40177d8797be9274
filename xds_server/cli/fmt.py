"""`cellway fmt PATH...`: policy files in the one layout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from xds_server.cli.output import FOUND, TROUBLE, trouble


def fmt(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders; '-' is stdin, to stdout.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file would change.")] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="How to say what changed.")
    ] = "text",
) -> None:
    """Lay YAML files out: indentation, order of an object's own fields, empty lines. Values and comments stay as they are.

    Files that cannot be read as YAML are left alone and told (exit code 2). Example: cellway fmt --check policies
    """
    import json

    from xds_server.cli.reading import STDIN_NAME

    changed: list[str] = []
    problems: list[str] = []
    for name, data in _files(paths):
        text, problem = _laid_out(name, data)
        if problem:
            problems.append(f"{name}: {problem}")
        elif name == STDIN_NAME and not check:
            print(text, end="")
        elif text.encode() != data:
            changed.append(name)
            if not check:
                _write(Path(name), text)
    if output == "json":
        print(json.dumps({"changed": changed, "problems": problems}, indent=2))
    else:
        for name in changed:
            print(f"{'would change' if check else 'changed'} {name}")
        for problem in problems:
            print(f"cellway: {problem}", file=sys.stderr)
    if problems or (check and changed):
        raise typer.Exit(TROUBLE if problems else FOUND)


def _files(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    """The YAML files among these paths and below them."""
    from xds_server.cli.reading import STDIN, STDIN_NAME
    from xds_server.load.find import find_files

    if Path(STDIN) in paths:
        yield STDIN_NAME, sys.stdin.buffer.read()
    for root, found in find_files([path for path in paths if path != Path(STDIN)]).items():
        if found.missing:
            trouble(f"there is no file or folder {root}")
        for name in found.names:
            if not name.endswith(".json"):
                try:
                    yield name, Path(name).read_bytes()
                except OSError as error:
                    trouble(f"{name} cannot be read: {error.strerror}")


def _laid_out(name: str, data: bytes) -> tuple[str, str]:
    """The text in the one layout, and why there is none. What would mean something else is never written."""
    from xds_server.diagnostics import Severity
    from xds_server.load.layout import comments_of, laid_out
    from xds_server.load.yaml import parse_file

    before = parse_file(name, data)
    wrong = [one for one in before.diagnostics if one.severity == Severity.ERROR]
    if wrong:
        return "", str(wrong[0]).removeprefix(f"{name}:")
    text = data.decode("utf-8")
    done = laid_out(text)
    after = parse_file(name, done.encode())
    same = [one.value for one in before.documents] == [one.value for one in after.documents]
    if not same or after.diagnostics or comments_of(text) != comments_of(done):
        return "", "this cannot be laid out without changing what it says, so it is left as it is"
    return done, ""


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that a server never reads half of it."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(path.stat().st_mode & 0o7777)
        fresh.replace(path.resolve())
    except OSError as error:
        fresh.unlink(missing_ok=True)
        trouble(f"{path} cannot be written: {error.strerror}")
