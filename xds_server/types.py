"""Values that all kinds share: names, references, metadata, durations, conditions, provenance.

In: text as it is written in documents. Out: frozen values. Nothing here knows a kind, a file or Envoy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_network

from xds_server.diagnostics import Path, Positions, Span

GATEWAY_GROUP = "gateway.networking.k8s.io"
ENVOY_GATEWAY_GROUP = "gateway.envoyproxy.io"
CELLWAY_GROUP = "cellway.dev"
CORE_GROUP = ""
DISCOVERY_GROUP = "discovery.k8s.io"
DEFAULT_NAMESPACE = "default"

_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([kMGT]|[KMGT]i)?")
_UNITS = {"": 1} | {
    f"{'K' if binary and letter == 'k' else letter}{binary}": (1024 if binary else 1000) ** power
    for binary in ("", "i")
    for power, letter in enumerate("kMGT", start=1)
}
_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The identity of an object: API group, kind, namespace (empty for cluster-wide kinds) and name."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A document that made a generated thing: which object, and where it is written."""

    key: Key
    span: Span

    def __str__(self) -> str:
        return f"{self.key} ({self.span})"


@dataclass(frozen=True, slots=True)
class Meta:
    """The part of `metadata` that Cellway reads. `created` is an RFC 3339 text or empty; `generation` counts spec changes."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Condition:
    """A status condition in Gateway API's form, without times (they enter at the rim)."""

    type: str
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Bytes that nobody prints by accident: its texts show eight digits of a hash, so that a change can be seen."""

    value: bytes

    def __repr__(self) -> str:
        return f"[redacted sha256:{hashlib.sha256(self.value).hexdigest()[:8]}]"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document of the web: its text as it was fetched last, or why it was never fetched."""

    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A module of WebAssembly that lies beside policies: its bytes and their hash, or why it cannot be used."""

    content: bytes = field(default=b"", repr=False)
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object is written: its document's positions. Derived objects have those of what they were made from."""

    positions: Positions

    def value(self, *path: str | int) -> Span:
        """The place of the value at `path`."""
        return self.positions.value(path)

    def key(self, *path: str | int) -> Span:
        """The place of the key at `path`."""
        return self.positions.key(path)


def read_network(text: str, *, strict: bool = True) -> IPv4Network | IPv6Network:
    """A range of addresses; ValueError if it is none. Zones (`fe80::%eth0/64`) mean nothing to Envoy."""
    if "%" in text:
        raise ValueError(f"'{text}' has a zone")
    return ip_network(text, strict=strict)


def parse_duration(text: str) -> float | None:
    """Seconds of a Gateway API duration (GEP-2257: `1h30m`, `500ms`, no fractions); None if it is none."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    hours, minutes, seconds, millis = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def parse_quantity(text: str) -> int | None:
    """The whole number that a quantity of Kubernetes is (`32Ki`, `1.5M`, `4096`); None if it is none, or not whole."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, unit = match.groups()
    value = Fraction(number) * _UNITS[unit or ""]
    return int(value) if value.denominator == 1 else None


__all__ = [
    "CELLWAY_GROUP",
    "CORE_GROUP",
    "DEFAULT_NAMESPACE",
    "DISCOVERY_GROUP",
    "ENVOY_GATEWAY_GROUP",
    "GATEWAY_GROUP",
    "Condition",
    "Fetched",
    "Key",
    "Meta",
    "Origin",
    "Path",
    "Positions",
    "Secret",
    "Source",
    "Span",
    "parse_duration",
    "parse_quantity",
    "read_network",
]
