"""Sizes of buffers: what Envoy holds of a connection, and what the kernel does.

In: a spec with `bufferLimit` and `socketBufferLimit`. Out: bytes. What is out of Envoy's or Linux' bounds is reported.
"""

from __future__ import annotations

from typing import Protocol

from xds_server.features.contract import Context
from xds_server.features.parts.values import size

_MOST = 2**32 - 1
_MOST_OF_A_SOCKET = 2**31 - 1


class Sized(Protocol):
    """What holds both limits as they are written."""

    @property
    def buffer_limit(self) -> str | None:
        """Bytes of Envoy."""

    @property
    def socket_buffer_limit(self) -> str | None:
        """Bytes of the kernel."""


def buffer_sizes(spec: Sized, context: Context) -> tuple[int | None, int | None] | None:
    """Both sizes; None for those that cannot be, after they were reported."""
    buffer, socket = size(spec.buffer_limit), size(spec.socket_buffer_limit)
    sizes = (("bufferLimit", buffer, _MOST), ("socketBufferLimit", socket, _MOST_OF_A_SOCKET))
    bad = [(field, most) for field, given, most in sizes if given is not None and not 1 <= given <= most]
    for field, most in bad:
        context.problem("F103", field, reason=f"{field} must be 1 to {most} bytes")
    return None if bad else (buffer, socket)
