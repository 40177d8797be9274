"""Collections that share most of what is in them behave like those that do not."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from xds_server.memory import Ranking, difference
from xds_server.parts import Gathered, Layers, Parts, Side, in_parts

NUMBERS = st.integers(0, 400)
STEPS = st.lists(st.tuples(st.lists(NUMBERS, max_size=30), st.dictionaries(NUMBERS, st.integers(), max_size=30)))


@given(STEPS)
def test_layers_are_a_dict(steps: list[tuple[list[int], dict[int, int]]]) -> None:
    layers: Layers[int, int] = Layers()
    plain: dict[int, int] = {}
    for gone, came in steps:
        before, known = layers, dict(plain)
        layers = layers.with_changes(gone, came)
        plain = {key: value for key, value in plain.items() if key not in gone} | came
        assert (dict(layers), len(layers), sorted(layers)) == (plain, len(plain), sorted(plain))
        assert dict(before) == known
        assert [layers.get(key, "none") for key in range(400)] == [plain.get(key, "none") for key in range(400)]
        assert [key in layers for key in range(400)] == [key in plain for key in range(400)]


@given(st.lists(st.lists(NUMBERS, max_size=5)))
def test_parts_are_a_tuple(items: list[list[int]]) -> None:
    parts, plain = Parts(map(tuple, items)), tuple(one for some in items for one in some)
    seen: object = parts
    assert seen == plain
    assert (tuple(parts), len(parts), parts[:3], hash(parts)) == (plain, len(plain), plain[:3], hash(plain))
    assert parts == Parts((plain,)) == in_parts(plain)
    assert parts != Parts((plain, (1,)))
    gathered = Gathered(items)
    assert tuple(gathered) == tuple(dict.fromkeys(plain)) == pickle.loads(pickle.dumps(gathered))


def test_mappings_side_by_side_are_one() -> None:
    both = Side({1: "a"}, Layers({2: "b"}))
    assert dict(both) == {1: "a", 2: "b"}
    assert (len(both), 2 in both, both.get(3)) == (2, True, None)


@given(st.lists(st.tuples(st.sets(NUMBERS, max_size=12), st.booleans()), max_size=12))
def test_a_ranking_is_sorted_whatever_comes_and_goes(steps: list[tuple[set[int], bool]]) -> None:
    ranking: Ranking[list[int]] = Ranking(lambda one: one[0])
    there: dict[int, list[int]] = {}
    ranking.fill(there.setdefault(number, [number]) for number in range(0, 400, 2))
    for numbers, anew in steps:
        before = ranking.items
        old = [there.pop(number) for number in sorted(numbers) if number in there]
        new = [there.setdefault(number, [number]) for number in sorted(numbers) if anew or not old]
        ranking.change(old, new)
        assert list(ranking.items) == [there[number] for number in sorted(there)]
        found = difference(before, ranking.items)
        assert (sorted(found.gone), sorted(found.came)) == (old, new)
