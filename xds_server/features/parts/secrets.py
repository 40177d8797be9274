"""References to Secrets, and their values on the way into a feature.

In: a reference and the key of the value that is wanted. Out: the value as a `Secret`, which cannot be printed, or a
reported problem. What is said of a value never holds any of it.
"""

from __future__ import annotations

from typing import Literal

from xds_server.features.contract import Context
from xds_server.spec import ObjectName, Spec
from xds_server.types import Secret


class SecretRefSpec(Spec):
    """A Secret, in another namespace only where a ReferenceGrant permits it."""

    group: Literal[""] = ""
    kind: Literal["Secret"] = "Secret"
    name: ObjectName
    namespace: ObjectName | None = None


def resolve_secret(spec: SecretRefSpec, key: str, context: Context, *path: str | int) -> Secret | None:
    """The value of one key of the Secret that `path` refers to; None if that was reported."""
    data = context.secret(spec.name, spec.namespace, *path)
    if data is None:
        return None
    if key not in data:
        context.problem("F140", *path, reason=f"Secret {spec.name} has no key '{key}'")
    return data.get(key)


def secret_text(value: Secret, what: str, context: Context, *path: str | int) -> str | None:
    """The value as text on one line; None if it is none, which was reported."""
    try:
        text = value.value.decode()
    except UnicodeDecodeError:
        context.problem("F140", *path, reason=f"{what} is not UTF-8 text")
        return None
    if not text or not text.isprintable():
        reason = "is empty" if not text else "holds a line break or another character that cannot be sent"
        context.problem("F140", *path, hint="a file's last line break counts too", reason=f"{what} {reason}")
        return None
    return text
