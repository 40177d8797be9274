from __future__ import annotations

from tests.translate.live import envoy

__all__ = ["envoy"]
