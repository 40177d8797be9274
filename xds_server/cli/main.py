"""The command `cellway`: which commands there are.

Each command is a module of its own that imports what it needs when it runs, so that `--help` answers at once.
Answers go to stdout, logs to stderr. Exit codes: 0 nothing found, 1 something found, 2 trouble.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# grpc tells of every connection that ends, on stderr, unless it is told not to before it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# pydantic would look through all that is installed for plugins, which nobody wants to change what policies mean.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from xds_server.cli import (
    bootstrap,
    cells,
    changes,
    check,
    completion,
    config,
    diff,
    dump,
    explain,
    export,
    fmt,
    policies,
    promote,
    render,
    routes,
    rule,
    run,
    schema,
    serve,
    status,
    top,
    validate,
    version,
    wait,
)

application = typer.Typer(
    name="cellway",
    help="Traffic policies as YAML, compiled into Envoy's configuration and pushed live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
application.command()(run.run)
application.command()(serve.serve)
application.command()(validate.validate)
application.command()(fmt.fmt)
application.command()(rule.rule)
application.command()(render.render)
application.command()(diff.diff)
application.command()(changes.plan)
application.command()(changes.apply)
application.command()(changes.history)
application.command()(changes.undo)
application.command()(explain.explain)
application.command()(routes.routes)
application.command()(policies.policies)
application.command()(bootstrap.bootstrap)
application.add_typer(export.export, name="export")
application.command()(status.status)
application.command()(check.check)
application.command()(dump.dump)
application.command()(top.top)
application.command()(cells.cells)
application.command()(cells.connections)
application.command()(promote.promote)
application.command()(promote.rollback)
application.command()(wait.wait)
application.command()(schema.schema)
application.command()(completion.completion)
application.add_typer(config.config, name="config")
application.command()(version.version)


def keep_only(chosen: Sequence[str]) -> None:
    """Of all commands keep the one that is asked for, if it is one: to make each of them ready takes a tenth of a second."""
    commands = application.registered_commands
    names = [one.callback.__name__ for one in commands if one.callback is not None]
    if chosen and chosen[0] in names:
        # Of a single one typer makes an application without commands.
        application.registered_commands = [commands[names.index(name)] for name in {chosen[0], "version", "wait"}]
        application.registered_groups = []


def main() -> None:
    """The entry point."""
    keep_only(sys.argv[1:])
    application()


if __name__ == "__main__":
    main()
