"""Give a target bytes that a fuzzer makes up, guided by what they reach, until the time is over.

In: the name of a target, `--seconds`. Out: how many inputs were tried and what they reached (libFuzzer's lines); an input
that breaks the target is kept in `fuzz/found/TARGET/`, where the tests try it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import sys

import atheris

with atheris.instrument_imports(include=["xds_server", "yaml", "joserfc"]):
    from fuzz.targets import TARGETS

from fuzz.mutate import another
from fuzz.seeds import ROOT, seeds

_LONGEST = 1 << 16
_SLOWEST = 10
"""Seconds that one input may take."""


def main() -> None:
    """Fuzz one target; ends with an error if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    arguments = parser.parse_args()
    corpus = ROOT / ".fuzz" / arguments.target
    found = ROOT / "fuzz" / "found" / arguments.target
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    target = TARGETS[arguments.target]
    target(b"")  # what is made when it is first needed is not the time of an input
    for seed in seeds(arguments.target):
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = (
        f"-max_total_time={arguments.seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_SLOWEST}",
        f"-artifact_prefix={found}/",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    )
    mutator = {"custom_mutator": _mutated} if arguments.target in ("policies", "patches") else {}
    atheris.Setup([sys.argv[0], *options, str(corpus), str(found)], target, **mutator)
    atheris.Fuzz()


def _mutated(data: bytes, longest: int, seed: int) -> bytes:
    """Mostly with an odd value, sometimes with odd bytes."""
    made = another(data, seed) if seed % 4 else None
    return made[:longest] if made is not None else bytes(atheris.Mutate(data, longest))


if __name__ == "__main__":
    main()
