"""What charts need of pygal, without the hook that it leaves among Python's finders of modules.

The hook is for plugins and older than `find_spec`: with it every module that is looked for in vain from then on is a warning.
"""

from __future__ import annotations

import sys

from pygal import Bar, Graph, Line
from pygal.style import Style

__all__ = ["Bar", "Graph", "Line", "Style"]

sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
