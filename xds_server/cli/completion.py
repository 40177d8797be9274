"""`cellway completion SHELL`: the script that lets a shell complete commands, options and paths.

It is Typer's own, the library that reads the command line: what it offers is what will be understood, and nothing has to be
kept in step. The script asks `cellway` itself at every Tab.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.", show_default=False)],
) -> None:
    """Print the script that completes commands and options in a shell.

    Example: cellway completion bash > ~/.local/share/bash-completion/completions/cellway
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="cellway", complete_var="_CELLWAY_COMPLETE", shell=shell))
