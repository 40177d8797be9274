"""HTTP/3: HTTPS listeners are served over QUIC, too.

In: `http3` of a ClientTrafficPolicy. Out: the wish alone; the UDP listener beside the TCP one, and the `alt-svc` header
that tells clients of it, are made where listeners are.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.features.contract import Context, Feature
from xds_server.spec import Spec


class Http3Spec(Spec):
    """Its presence is all that it says: `http3: {}`."""


@dataclass(frozen=True, slots=True)
class Http3:
    """HTTP/3 is wanted."""


class Http3Feature(Feature[Http3Spec, Http3]):
    """`http3` of a ClientTrafficPolicy."""

    name = "http3"
    carriers = (("ClientTrafficPolicy", "http3"),)

    def resolve(self, spec: Http3Spec, context: Context) -> Http3:
        """The wish."""
        return Http3()

    def quic(self, value: Http3) -> bool:
        """Always."""
        return True


HTTP3 = Http3Feature()
