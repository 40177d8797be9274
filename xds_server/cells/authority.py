"""What compilation is given of certificates: an authority for each trust domain, and what it has issued.

In: nothing. Out: frozen values; a key in them cannot be printed. They are inputs of compilation, as documents are: who
makes them, and when they are renewed, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.types import Secret


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate chain as PEM, and its key."""

    chain: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class Authority:
    """What vouches for the gateways of one trust domain: its certificates as PEM, and what it has issued, by name.

    `problem` says why there is none; empty if there is.
    """

    certificates: str = ""
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    problem: str = ""


Authorities = Mapping[str, Authority]
"""Authorities by trust domain."""
