"""Certificates of gateways: what is in them, when they are renewed, and what happens when an authority is of no use."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from tests.e2e.certificates import self_signed
from xds_server.automation.authority import LONGEST, AuthorityError, issue, make_root, read_issuer
from xds_server.automation.certificates import Certificates, Keeping

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
DOMAIN, HOUR, YEAR = "dev.acme.internal", 3600.0, 365 * 24 * 3600.0
ONE, TWO = (f"spiffe://{DOMAIN}/cell/{name}/gw/east" for name in ("one", "two"))


def names_in(chain: bytes) -> list[str]:
    found = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert len(list(found.value)) == 1
    return found.value.get_values_for_type(x509.UniformResourceIdentifier)


def test_a_certificate_has_one_name_and_lives_a_day_at_most() -> None:
    issuer = read_issuer(*make_root(DOMAIN, NOW), NOW)
    leaf = issue(issuer, ONE, NOW, LONGEST)
    certificate = x509.load_pem_x509_certificate(leaf.chain)
    assert names_in(leaf.chain) == [ONE]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() <= LONGEST
    assert certificate.not_valid_before_utc.timestamp() < NOW < certificate.not_valid_after_utc.timestamp()
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    verifier = PolicyBuilder().store(Store([issuer.certificate])).time(moment).build_client_verifier()
    assert verifier.verify(certificate, []).subjects == [x509.UniformResourceIdentifier(ONE)]


def test_nothing_is_issued_beyond_the_authoritys_own_end() -> None:
    issuer = read_issuer(*make_root(DOMAIN, NOW), NOW)
    late = issuer.ends - HOUR
    certificate = x509.load_pem_x509_certificate(issue(issuer, ONE, late, LONGEST).chain)
    assert certificate.not_valid_after_utc.timestamp() == issuer.ends


def test_the_same_values_until_something_is_due() -> None:
    held = Certificates(Keeping())
    first = held.renew({DOMAIN: (ONE,)}, NOW)
    assert held.renew({DOMAIN: (ONE,)}, NOW + 9 * HOUR) == first
    assert not held.is_due(NOW + 9 * HOUR)
    half = NOW + LONGEST / 2
    assert held.is_due(half)
    second = held.renew({DOMAIN: (ONE,)}, half)
    assert second[DOMAIN].leaves[ONE] != first[DOMAIN].leaves[ONE]
    assert second[DOMAIN].certificates == first[DOMAIN].certificates


def test_a_clock_that_jumps_leaves_nobody_without_a_certificate_that_is_valid() -> None:
    held = Certificates(Keeping())
    for now in (NOW, NOW + YEAR, NOW + YEAR - HOUR, NOW, NOW - HOUR, NOW):
        chain = held.renew({DOMAIN: (ONE,)}, now)[DOMAIN].leaves[ONE].chain
        certificate = x509.load_pem_x509_certificate(chain)
        assert certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp()
        assert held.renew({DOMAIN: (ONE,)}, now + 60)[DOMAIN].leaves[ONE].chain == chain, "once for each jump"
        assert held.rest(now) > 0


def test_a_new_name_leaves_the_others_alone_and_a_lost_one_goes() -> None:
    held = Certificates(Keeping())
    first = held.renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    both = held.renew({DOMAIN: (ONE, TWO)}, NOW)[DOMAIN]
    assert both.leaves[ONE] is first.leaves[ONE]
    assert set(held.renew({DOMAIN: (TWO,)}, NOW)[DOMAIN].leaves) == {TWO}
    assert held.renew({}, NOW) == {}


def test_stages_have_authorities_of_their_own() -> None:
    found = Certificates(Keeping()).renew({DOMAIN: (ONE,), "prod.acme.internal": ()}, NOW)
    assert found[DOMAIN].certificates != found["prod.acme.internal"].certificates


def test_one_that_is_missing_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    first = Certificates(Keeping(folder)).renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    again = Certificates(Keeping(folder)).renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    assert first.certificates == again.certificates
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {
        f"{DOMAIN}.crt": 0o600,
        f"{DOMAIN}.key": 0o600,
    }


def test_a_folder_of_an_operator_is_only_read(tmp_path: Path) -> None:
    found = Certificates(Keeping(tmp_path, own=False)).renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    assert found.problem == f"{tmp_path}/{DOMAIN}.crt cannot be read: No such file or directory"
    assert list(tmp_path.iterdir()) == []


def write(folder: Path, pair: tuple[bytes, bytes]) -> None:
    (folder / f"{DOMAIN}.crt").write_bytes(pair[0])
    (folder / f"{DOMAIN}.key").write_bytes(pair[1])


def test_an_authority_that_breaks_leaves_what_it_issued_until_that_is_over(tmp_path: Path) -> None:
    good = make_root(DOMAIN, NOW)
    write(tmp_path, good)
    held = Certificates(Keeping(tmp_path, own=False))
    first = held.renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    (tmp_path / f"{DOMAIN}.key").write_text("nothing")
    half = held.renew({DOMAIN: (ONE,)}, NOW + 13 * HOUR)[DOMAIN]
    assert half.leaves == first.leaves
    assert "holds no private key" in half.problem
    over = held.renew({DOMAIN: (ONE,)}, NOW + 25 * HOUR)[DOMAIN]
    assert (over.leaves, over.certificates) == ({}, "")
    write(tmp_path, good)
    assert held.is_due(NOW + 25 * HOUR)
    assert held.renew({DOMAIN: (ONE,)}, NOW + 25 * HOUR)[DOMAIN].problem == ""


def test_another_authority_replaces_all_that_the_one_before_issued(tmp_path: Path) -> None:
    write(tmp_path, make_root(DOMAIN, NOW))
    held = Certificates(Keeping(tmp_path, own=False))
    first = held.renew({DOMAIN: (ONE, TWO)}, NOW)[DOMAIN]
    write(tmp_path, make_root(DOMAIN, NOW))
    second = held.renew({DOMAIN: (ONE, TWO)}, NOW + 13 * HOUR)[DOMAIN]
    assert second.certificates != first.certificates
    assert all(second.leaves[name] != first.leaves[name] for name in (ONE, TWO))


def test_another_authority_after_a_broken_one_issues_all_anew(tmp_path: Path) -> None:
    write(tmp_path, make_root(DOMAIN, NOW))
    held = Certificates(Keeping(tmp_path, own=False))
    first = held.renew({DOMAIN: (ONE,)}, NOW)[DOMAIN]
    (tmp_path / f"{DOMAIN}.key").write_text("nothing")
    held.renew({DOMAIN: (ONE,)}, NOW + 13 * HOUR)
    write(tmp_path, make_root(DOMAIN, NOW))
    second = held.renew({DOMAIN: (ONE,)}, NOW + 13 * HOUR)[DOMAIN]
    assert second.certificates != first.certificates
    assert second.leaves[ONE] != first.leaves[ONE]
    assert held.renew({DOMAIN: (ONE,)}, NOW + 13 * HOUR)[DOMAIN] == second


def test_it_is_worth_asking_again_when_something_is_due() -> None:
    held = Certificates(Keeping(lifetime=20))
    held.renew({DOMAIN: (ONE,)}, NOW)
    assert held.rest(NOW) == pytest.approx(8)
    assert held.rest(NOW + 60) > 0, "never without a pause"
    assert not held.is_due(NOW + 7)
    assert held.is_due(NOW + 9)


def plain(name: str) -> tuple[bytes, bytes]:
    """A certificate that is none of an authority."""
    issuer = read_issuer(*make_root(DOMAIN, NOW), NOW)
    leaf = issue(issuer, name, NOW, HOUR)
    return leaf.chain, leaf.key.value


def edwards() -> tuple[bytes, bytes]:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=1))
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return built.sign(key, None).public_bytes(Encoding.PEM), secret


BROKEN: dict[str, tuple[Callable[[], tuple[bytes, bytes]], str]] = {
    "no certificate": (lambda: (b"x", make_root(DOMAIN, NOW)[1]), "holds no certificate"),
    "no key": (lambda: (make_root(DOMAIN, NOW)[0], b"x"), "holds no private key"),
    "another key": (lambda: (make_root(DOMAIN, NOW)[0], make_root(DOMAIN, NOW)[1]), "does not belong"),
    "expired": (lambda: make_root(DOMAIN, NOW - 11 * YEAR), "expired on 2024-12-31"),
    "not yet valid": (lambda: make_root(DOMAIN, NOW + HOUR), "not valid before"),
    "not of an authority": (lambda: plain(ONE), "not one of an authority"),
    "a key that Envoy does not take": (edwards, "neither RSA nor on an elliptic curve"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_authority_that_is_of_no_use_says_why(what: str) -> None:
    make, reason = BROKEN[what]
    with pytest.raises(AuthorityError, match=reason) as caught:
        read_issuer(*make(), NOW)
    assert "PRIVATE" not in str(caught.value)


def test_the_certificate_of_a_server_is_none_of_an_authority_for_the_wrong_time() -> None:
    certificate, key = self_signed("shop.example")
    with pytest.raises(AuthorityError, match="not valid before"):
        read_issuer(certificate.encode(), key.encode(), NOW - 100 * YEAR)
