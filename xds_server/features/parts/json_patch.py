"""One operation of JSON Patch (RFC 6902) on plain data: of bootstraps, and of resources of Envoys.

In: a document and an operation. Out: the document after it, which is the same one changed where that can be; or a StepError
with a sentence, without values of the document.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jsonpath import JSONPatch, JSONPatchError, JSONPointerError
from jsonpath.exceptions import JSONPatchTestFailure


class StepError(ValueError):
    """Why an operation cannot be done."""


def done(document: Any, step: Mapping[str, Any]) -> Any:
    """The document after an operation."""
    place = step["path"] or "the whole of it"
    try:
        return JSONPatch([copy.deepcopy(dict(step))]).apply(document)
    except JSONPatchTestFailure:
        raise StepError(f"{place} is something else than the test expects") from None
    except (JSONPatchError, JSONPointerError):
        raise StepError(f"{step['op']} cannot be done at {place}: there is no such place") from None
