"""Where an Envoy may write a log: to its own output, or right into a folder that the operator permits.

In: a path as a policy has it. Out: what is wrong with it. Envoy writes with its own rights, so that a policy must not choose
any file of its machine.
"""

from __future__ import annotations

import re

from xds_server.features.contract import Context

STDOUT, STDERR = "/dev/stdout", "/dev/stderr"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}")


def check_log_file(path: str, context: Context, *place: str | int) -> bool:
    """Whether a log may be written to `path`; what stands in the way is reported at `place`."""
    folder, _, name = path.rpartition("/")
    if path in (STDOUT, STDERR) or (folder in context.log_folders() and _NAME.fullmatch(name)):
        return True
    known = ", ".join(context.log_folders())
    hint = f"write {STDOUT} or {STDERR}, and let what runs the Envoy collect it"
    hint += f", or a file right in {known}" if known else "; files need the server's option --log-folder /PATH"
    context.problem("F103", *place, hint=hint, reason=f"a log goes to the Envoy's own output, not to '{path}'")
    return False
