"""The fuzzer's targets take their seeds, whatever the fuzzer has found before, and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.seeds import ROOT, seeds
from fuzz.targets import TARGETS

FOUND = [path for path in sorted((ROOT / "fuzz" / "found").rglob("*")) if path.is_file() and path.name != "README.md"]


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    tried = 0
    for seed in seeds(target):
        TARGETS[target](seed)
        tried += 1
    assert tried


def test_what_was_found_once() -> None:
    for path in FOUND:
        TARGETS[path.parent.name](path.read_bytes())


SEEDS = {target: sorted(seeds(target), key=len)[:8] for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=50)
@given(data=st.data())
def test_seeds_with_a_hole(target: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[target]))
    start, length = data.draw(st.integers(0, len(seed))), data.draw(st.integers(0, 64))
    TARGETS[target](seed[:start] + data.draw(st.binary(max_size=8)) + seed[start + length :])
