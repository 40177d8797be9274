"""Classes: mistakes are told whether a cell uses the class or not."""

from __future__ import annotations

from tests.documents import compiled

UNUSED = """\
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: unused}
spec:
  defaults:
    east:
      traffic:
        retry: {numRetires: 1}
  overrides: {west: {security: {jwt: {optional: true}}}}
"""


def test_a_field_that_does_not_exist_is_told_for_a_class_that_nobody_uses() -> None:
    assert [f"{one} [{one.subject}]" for one in compiled(UNUSED).diagnostics] == [
        "test.yaml:8:17: error M110 unknown field 'numRetires' (did you mean 'numRetries'?) [CellClass unused]"
    ]
