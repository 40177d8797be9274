"""Policy files with one odd value, which random bytes would hardly ever make.

In: a file's bytes and a seed. Out: another file, of the same documents but for a value that was replaced, removed, doubled or
taken from elsewhere in the file; None if the bytes are no YAML.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**200, 0.5, float("nan"), "", " ", "*", "/", "//", "a", "A", "é", "\u0000", "\n",
    "x" * 300, "x" * 70_000, "%", "%2f", "{}", "(", "[a-z]+", "(a+)+$", "*.example", "a..b", "-a", "127.0.0.1", "::1",
    "10.0.0.0/8", "0s", "1s", "-1s", "99999999h", "1.5", "10Mi", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
    "https://", "http://[::1", "spiffe://x", "Exact", "RegularExpression", "Merge", [], {}, [[]], [None], [""], {"": ""},
    {"name": None}, {"a": {"a": {"a": {}}}},
)  # fmt: skip
_LARGEST = 30


def another(data: bytes, seed: int) -> bytes | None:
    """The file with up to three changes that `seed` chooses."""
    try:
        documents = list(yaml.load_all(data, yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None
    chance = random.Random(seed)  # noqa: S311
    for _ in range(chance.randint(1, 3)):
        places = list(_places(documents))
        if places:
            _change(chance.choice(places), places, chance)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True).encode(
        errors="surrogatepass"
    )


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside: what holds it, and under which key."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list) and value:
            yield from _places(value)


def _change(place: tuple[Any, Any], places: list[tuple[Any, Any]], chance: random.Random) -> None:
    holder, key = place
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list) and len(holder) < _LARGEST:
            holder.append(holder[key])
        case 2 | 3:
            other, where = chance.choice(places)
            value = other.get(where) if isinstance(other, dict) else other[where] if where < len(other) else None
            holder[key] = value if not isinstance(value, dict | list) else yaml.safe_load(yaml.safe_dump(value))
        case _:
            holder[key] = chance.choice(ODD)
