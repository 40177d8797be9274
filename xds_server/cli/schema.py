"""`cellway schema`: JSON schemas, so that editors complete and check policies while they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xds_server.cli.output import trouble

_ALL = "cellway"


def schema(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, such as HTTPRoute.", show_default=False)] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", help="Write a file for every kind and one for all.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON schema of all kinds, or of one.

    Example: cellway schema --write schemas
    """
    import json

    from xds_server.model.kinds import KINDS
    from xds_server.observe.schema_view import schema_of, schema_of_all

    named = {one.name: one for one in KINDS.values()}
    if kind is not None and kind not in named:
        trouble(f"there is no kind {kind}; there are: {', '.join(sorted(named))}")
    if write is None:
        print(json.dumps(schema_of_all() if kind is None else schema_of(named[kind]), indent=2))
        return
    wanted = {name: schema_of(one) for name, one in named.items() if kind in (None, name)}
    if kind is None:
        wanted[_ALL] = schema_of_all()
    try:
        write.mkdir(parents=True, exist_ok=True)
        for name, one in wanted.items():
            (write / f"{name}.json").write_text(json.dumps(one, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        trouble(f"{write} cannot be written: {error}")
    print(f"{len(wanted)} schemas in {write}. The first line of a file tells the YAML language server:")
    print(f"# yaml-language-server: $schema={(write / f'{kind or _ALL}.json').resolve().as_uri()}")
