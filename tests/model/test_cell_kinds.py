"""What organizations and cells may not say, for nobody could mean it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from xds_server.model.cell_kinds import EndpointAllow, OrganizationSpec


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"cells": ["a"], "methods": {"b": ["GET"]}}, "'b' is none of them"),
        ({"cells": ["a"], "all": True, "methods": {"a": ["GET"]}}, "nobody is limited"),
    ],
)
def test_methods_limit_cells_that_are_named(written: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EndpointAllow.model_validate(written)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"name": "dev"}, {"name": "dev", "trustDomain": "other"}], "two stages have the name 'dev'"),
        ([{"name": "dev", "trustDomain": "one"}, {"name": "test", "trustDomain": "one"}], "the trust domain 'one'"),
    ],
)
def test_stages_are_apart(stages: list[dict[str, str]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OrganizationSpec.model_validate({"stages": stages})
