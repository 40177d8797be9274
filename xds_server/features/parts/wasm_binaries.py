"""What can be seen of a module of WebAssembly without running it.

In: the bytes of a file. Out: why Envoy would not load them; empty if nothing speaks against it. Envoy refuses a whole
listener for code that it cannot load, so a file that is half written must not reach it. Follows the binary format of
WebAssembly 1.0 and the ABI of Proxy-Wasm.
"""

from __future__ import annotations

_HEAD = b"\0asm\1\0\0\0"
_ABI = b"proxy_abi_version_0_"
_LAST_SECTION = 13


def binary_problem(data: bytes) -> str:
    """Why this is no module that Envoy could run."""
    if not data.startswith(_HEAD):
        return "it is not a module of WebAssembly"
    place = len(_HEAD)
    while place < len(data):
        section = data[place]
        length, place = _number(data, place + 1)
        place += length
        if section > _LAST_SECTION or place > len(data):
            return "it is damaged, or not written to its end"
    if place == len(_HEAD) or place > len(data):
        return "it is damaged, or not written to its end"
    return "" if _ABI in data else "it is not written for proxies: it says no version of Proxy-Wasm"


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
