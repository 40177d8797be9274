"""Certificates that nobody shall trust any more: those on the revocation lists of our authorities.

In: a PEM file of lists and one of authorities, both read again and again. Out: whether a certificate is on a list. A file
that holds anything but whole lists, each signed by one of the authorities, changes nothing: the last good lists stay, and
the reason is told once. So does one that has lost the list of an authority, since half a file may look like that.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

_LIST = re.compile(rb"-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----")
_BEGIN = b"-----BEGIN"
_BROKEN = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate or a list that is none may raise."""
_STILL = "the last good lists still count"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate is known by. `names`: the URIs and DNS names in it, for people."""

    issuer: str
    serial: int
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.serial:x} of '{self.issuer}' ({', '.join(self.names) or 'without a name'})"


@dataclass(frozen=True, slots=True)
class Lists:
    """What is revoked: serial numbers by issuer. `ends`: when the next list of an issuer is due, in seconds since the epoch."""

    revoked: Mapping[str, frozenset[int]] = field(default_factory=dict)
    ends: Mapping[str, float] = field(default_factory=dict)

    def has(self, certificates: Iterable[Shown]) -> Shown | None:
        """The first of these that is on a list."""
        return next((one for one in certificates if one.serial in self.revoked.get(one.issuer, ())), None)


class Revocations:
    """The lists in a file. `wall`: seconds since the epoch. `told` hears of every change for the worse.

    `lists` are those that count; `problem` is why what is in the files now does not, else empty.
    """

    def __init__(
        self,
        path: Path,
        authorities: Path,
        wall: Callable[[], float],
        told: Callable[[str], None],
        counting: Lists | None = None,
    ) -> None:
        """Raises ValueError, with a sentence, for files that cannot be used.

        `counting`: these count until the files hold better ones, whatever is in the files now.
        """
        self._path, self._authorities, self._wall, self._told = path, authorities, wall, told
        self.lists, self.problem = counting or Lists(), ""
        self._overdue: set[tuple[str, float]] = set()
        self._seen = (b"", b"")
        if counting is not None:
            self.look()
            return
        self._seen = self._read()
        self.lists = self._parse(*self._seen)
        self._tell_overdue()

    def look(self) -> bool:
        """Read the files again. Whether other certificates are revoked than before."""
        before = self.lists
        try:
            seen = self._read()
            if seen != self._seen:
                self.lists = self._parse(*seen)
                self._seen = seen
            self.problem = ""
        except ValueError as error:
            if str(error) != self.problem:
                self.problem = str(error)
                self._told(f"{error}; {_STILL}")
        self._tell_overdue()
        return self.lists.revoked != before.revoked

    def _read(self) -> tuple[bytes, bytes]:
        try:
            return self._path.read_bytes(), self._authorities.read_bytes()
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None

    def _parse(self, text: bytes, authorities: bytes) -> Lists:
        """Everything is checked before anything is collected: a large list is not gone through in vain."""
        try:
            signers = x509.load_pem_x509_certificates(authorities)
        except _BROKEN as error:
            raise ValueError(f"{self._authorities}: no PEM of certificates: {error}") from None
        found = _LIST.findall(text)
        if not found or len(found) != text.count(_BEGIN):
            raise ValueError(f"{self._path}: must be PEM of whole revocation lists ('X509 CRL'), one or more, alone")
        lists = [self._checked(number, one, signers) for number, one in enumerate(found, 1)]
        issuers = {one.issuer.rfc4514_string() for one in lists}
        lost = {one.subject.rfc4514_string() for one in signers} & self.lists.revoked.keys() - issuers
        if lost:
            raise ValueError(f"{self._path}: there is no list of '{min(lost)}' any more, which is still in --xds-ca")
        return _collected(lists)

    def _checked(self, number: int, text: bytes, signers: Sequence[x509.Certificate]) -> x509.CertificateRevocationList:
        try:
            one = x509.load_pem_x509_crl(text)
            if _is_partial(one.extensions):
                raise ValueError("it is a delta or an indirect list; give whole lists of the authorities themselves")
            if not any(_signed(one, signer) for signer in signers):
                raise ValueError(f"it is of '{one.issuer.rfc4514_string()}', and no authority in --xds-ca signed it")
        except _BROKEN as error:
            raise ValueError(f"{self._path}: revocation list {number} cannot count: {error}") from None
        return one

    def _tell_overdue(self) -> None:
        """A list that should have been followed by another still counts: what is on it stays revoked."""
        over = {(issuer, ends) for issuer, ends in self.lists.ends.items() if ends < self._wall()}
        for issuer, ends in sorted(over - self._overdue):
            due = datetime.datetime.fromtimestamp(ends, datetime.UTC).isoformat()
            self._told(f"{self._path}: the next revocation list of '{issuer}' was due {due}; the old one still counts")
        self._overdue = over


def read_shown(chain: bytes, names: tuple[str, ...]) -> tuple[Shown, ...]:
    """What a client's certificate (PEM), with these names, and others that came with it are known by.

    ValueError if one cannot be read.
    """
    try:
        found = [(one.issuer.rfc4514_string(), one.serial_number) for one in x509.load_pem_x509_certificates(chain)]
    except _BROKEN as error:
        raise ValueError(f"no certificate: {error}") from None
    return tuple(Shown(issuer, serial, () if place else names) for place, (issuer, serial) in enumerate(found))


def _collected(lists: Iterable[x509.CertificateRevocationList]) -> Lists:
    """A certificate is revoked if any list of its issuer says so."""
    revoked: dict[str, frozenset[int]] = {}
    ends: dict[str, float] = {}
    for one in lists:
        issuer = one.issuer.rfc4514_string()
        revoked[issuer] = revoked.get(issuer, frozenset()) | {entry.serial_number for entry in one}
        if one.next_update_utc is not None:
            ends[issuer] = max(ends.get(issuer, 0.0), one.next_update_utc.timestamp())
    return Lists(revoked, ends)


def _is_partial(extensions: x509.Extensions) -> bool:
    """Whether a list only says what has changed, or speaks of certificates of others."""
    values = [one.value for one in extensions]
    return any(
        isinstance(one, x509.DeltaCRLIndicator) or (isinstance(one, x509.IssuingDistributionPoint) and one.indirect_crl)
        for one in values
    )


def _signed(one: x509.CertificateRevocationList, signer: x509.Certificate) -> bool:
    """Whether this authority made the list, and may make lists (RFC 5280, 6.3.3)."""
    if signer.subject != one.issuer:
        return False
    try:
        # Another kind of key, one of key agreement, is a TypeError.
        if not one.is_signature_valid(cast(CertificateIssuerPublicKeyTypes, signer.public_key())):
            return False
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
    ):  # another authority of the same name, with another kind of key
        return False
    usage = next((it.value for it in signer.extensions if isinstance(it.value, x509.KeyUsage)), None)
    return usage is None or usage.crl_sign
