"""What can be seen of a module of WebAssembly without running it.

In: the bytes of a file. Out: why Envoy would not load them; empty if nothing speaks against it. Envoy refuses a whole
listener for code that it cannot load, so a file that is half written must not reach it. What is inside of functions, and what
a module says to its configuration, only Envoy finds out. Follows the binary format of WebAssembly 1.0 and the ABI of Proxy-Wasm.
"""

from __future__ import annotations

_HEAD = b"\0asm\1\0\0\0"
_ABI = b"proxy_abi_version_0_"
_EXPORTS = 7
_LAST_SECTION = 13


def binary_problem(data: bytes) -> str:
    """Why this is no module that Envoy could run."""
    if not data.startswith(_HEAD):
        return "it is not a module of WebAssembly"
    place, spoken = len(_HEAD), False
    while place < len(data):
        section = data[place]
        length, start = _number(data, place + 1)
        place = start + length
        if section > _LAST_SECTION or place > len(data):
            return "it is damaged, or not written to its end"
        if section == _EXPORTS:
            names = _exported(data[start:place])
            if names is None:
                return "it is damaged: what it exports cannot be read"
            spoken = any(name.startswith(_ABI) for name in names)
    if place == len(_HEAD):
        return "it is damaged, or not written to its end"
    return "" if spoken else "it is not written for proxies: it exports no version of Proxy-Wasm"


def _exported(section: bytes) -> list[bytes] | None:
    """The names in a section of exports; None if it is none."""
    names: list[bytes] = []
    count, place = _number(section, 0)
    for _ in range(count):
        length, start = _number(section, place)
        names.append(section[start : start + length])
        _, place = _number(section, start + length + 1)  # after the byte that says what it is
        if place > len(section):
            return None
    return names if place == len(section) else None


def _number(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most 32 bits, and the place after it; a place beyond the end if there is none."""
    value = 0
    for shift in range(0, 35, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    return 0, len(data) + 1
