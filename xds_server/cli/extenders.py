"""The namespaces whose policies may bring code to Envoys and patch what they are served: `--allow-extensions infra`.

In: words of the command line. Out: names of namespaces, or `*` for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def parse_extenders(words: Sequence[str] | None) -> tuple[str, ...]:
    """Namespaces in the order given, each once. ValueError says which word is wrong."""
    for word in words or ():
        if word != "*" and not _NAME.fullmatch(word):
            raise ValueError(f"--allow-extensions {word}: write the name of a namespace, or '*' for all of them")
    return tuple(dict.fromkeys(words or ()))
