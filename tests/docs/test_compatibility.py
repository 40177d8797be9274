"""Every field of Envoy Gateway's traffic kinds can be written, or docs/compatibility.md says why not; and no field of ours
goes unsaid.

In: `fields/KIND.txt`, the fields of Envoy Gateway's kinds as paths; the models; the page. Out: failures that name a field.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, fields_of
from xds_server.model.kinds import KINDS

FIELDS = Path(__file__).parent / "fields"
KNOWN = {path.stem: set(path.read_text(encoding="utf-8").split()) for path in FIELDS.glob("*.txt")}
_ROW = re.compile(r"^\| (\w+) \| `([^`]+)` \| [^|]+ \|$", re.MULTILINE)
_OPEN = ("targetRef", "targetRefs", "targetSelectors", "redirect.path", "valueRef", "header", "percent")
_SHARES = ("Fraction", "samplingPercentage")
"""Fields whose inside the lists leave to Gateway API and Kubernetes."""
_OPEN_REFERENCES = ("tls.caCertificateRefs", "tls.clientCertificateRef", "backendTLS.clientCertificateRef")


def table(heading: str) -> dict[str, set[str]]:
    """The fields of a table of the page, by kind."""
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    part = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    found: dict[str, set[str]] = {kind: set() for kind in KNOWN}
    for kind, field in _ROW.findall(part):
        found[kind].add(field)
    return found


MISSING, OWN = table("What is not there"), table("What Envoy Gateway does not have")


def written(kind: str) -> set[str]:
    """The fields that can be written."""
    spec = next(one.spec for one in KINDS.values() if one.name == kind)
    return {field.path.replace("[]", "") for field in fields_of(spec, "", frozenset())}


def below(field: str, tops: set[str]) -> bool:
    return any(f"{field}.".startswith(f"{top}.") for top in tops)


def test_the_lists_are_those_of_the_kinds() -> None:
    assert set(KNOWN) == {
        *("BackendTrafficPolicy", "ClientTrafficPolicy", "SecurityPolicy", "HTTPRouteFilter", "Backend"),
        *("EnvoyExtensionPolicy", "EnvoyPatchPolicy", "EnvoyProxy"),
    }
    assert {kind: len(fields) > 12 for kind, fields in KNOWN.items()} == dict.fromkeys(KNOWN, True)


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_a_field_can_be_written_or_the_page_says_why_not(kind: str) -> None:
    absent = KNOWN[kind] - written(kind)
    assert sorted(field for field in absent if not below(field, MISSING[kind])) == []


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_what_is_missing_is_missing(kind: str) -> None:
    there = {field for field in MISSING[kind] if field in written(kind)}
    assert there <= {"http1.http10.useDefaultHost"}, "a field that can be written to be refused by name"
    assert MISSING[kind] <= KNOWN[kind]


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_the_page_names_every_field_of_our_own(kind: str) -> None:
    more = {field for field in written(kind) - KNOWN[kind] if not below(field, OWN[kind])}
    ends = {top for top in KNOWN[kind] if top.endswith((*_OPEN, *_SHARES)) or top.startswith(_OPEN_REFERENCES)}
    ends |= {"targetSelectors.namespaces.selector", "targetSelectors.matchExpressions"}
    assert sorted(field for field in more if not below(field, ends)) == []
    assert OWN[kind] <= written(kind)
