from __future__ import annotations

from tests.e2e.conftest import shared

__all__ = ["shared"]
