"""The databases with which Envoys find out where an address is: `--geoip city=FILE`.

In: words of the command line. Out: files by what they tell. Whether they are there is seen on the Envoys' machines only.
"""

from __future__ import annotations

from collections.abc import Sequence

from xds_server.features.parts.locations import DATABASES


def parse_databases(words: Sequence[str] | None) -> dict[str, str]:
    """Files by what they tell. ValueError says which word is wrong."""
    found: dict[str, str] = {}
    for word in words or ():
        what, _, path = word.partition("=")
        if what not in DATABASES or not path.startswith("/"):
            raise ValueError(f"--geoip {word}: write WHAT=/PATH, where WHAT is one of {', '.join(DATABASES)}")
        found[what] = path
    return found
