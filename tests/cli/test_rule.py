"""`cellway rule`, and what is left out of `validate`: by a suppression, by an option; and colours."""

from __future__ import annotations

import json

from tests.cli.test_commands import TYPO
from tests.commands import cellway

ALONE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: alone}
spec: {rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: a.example}}]}]}
"""
MEANT = ALONE.replace("{name: alone}", "{name: alone, annotations: {cellway.dev/suppress: A111}}")


def test_a_code_is_explained_with_an_example() -> None:
    done = cellway("rule", "m110")
    assert done.returncode == 0
    assert done.stdout.startswith("error M110 unknown field '{field}'\n\nNothing reads this field")
    assert "hostnmae: web.example" in done.stdout
    told = json.loads(cellway("rule", "M110", "-o", "json").stdout)
    assert (told["code"], told["severity"], told["page"]) == ("M110", "error", "objects.md")


def test_all_codes_are_listed_with_their_severity() -> None:
    lines = cellway("rule").stdout.splitlines()
    assert lines == sorted(lines)
    assert "A111  warning  the route has no parentRefs, so it is attached to nothing" in lines
    assert {one["code"] for one in json.loads(cellway("rule", "-o", "json").stdout)} == {line[:4] for line in lines}


def test_a_code_that_is_none_is_trouble() -> None:
    done = cellway("rule", "M1100")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cellway: there is no code M1100; did you mean M110")


def test_a_warning_that_is_meant_is_left_out() -> None:
    assert "warning A111" in cellway("validate", "-", given=ALONE).stdout
    done = cellway("validate", "-", given=MEANT)
    assert (done.returncode, done.stdout) == (0, "1 file, 1 object: 0 errors\n")
    done = cellway("validate", "-", "--ignore", "A111", given=ALONE)
    assert (done.returncode, done.stdout) == (0, "1 file, 1 object: 0 errors\n")


def test_an_error_cannot_be_left_out() -> None:
    done = cellway("validate", "-", "--ignore", "M110", given=TYPO)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cellway: --ignore: M110 is an error, and errors cannot be suppressed\n"


def test_colours_are_there_if_they_are_asked_for() -> None:
    assert "\x1b[1;31m" in cellway("validate", "-", "--color", "always", given=TYPO).stdout
    assert "\x1b[1;31m" in cellway("validate", "-", given=TYPO, env={"CELLWAY_COLOR": "always"}).stdout
    assert "\x1b" not in cellway("validate", "-", "--color", "never", given=TYPO).stdout
    assert cellway("validate", "-", "--color", "sometimes", given=TYPO).returncode == 2
