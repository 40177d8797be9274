"""How to go through messages of the Envoy API, whoever looks for what in them.

In: a field with its value, or what is packed in a message. Out: the single values, or the message that was packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

OPERATORS = ("%ENVIRONMENT(", "%FILE_CONTENT(")
"""Operators of Envoy's formats that read what is not of the request."""


def message_type(url: str) -> type[Message]:
    """The class of a message. KeyError for a type that Envoy does not have, or whose module nobody imported."""
    name = url.rpartition("/")[2]
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def unpacked(packed: AnyMessage) -> Message | None:
    """The message in it; None if it is none of a known type."""
    try:
        return message_type(packed.type_url).FromString(packed.value)
    except (KeyError, DecodeError):
        return None


def is_map(field: Any) -> bool:
    """Whether a field is a map."""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def values_of(field: Any, value: Any) -> Iterator[Any]:
    """The values of a field of a message, one by one; of a map without its keys."""
    if not field.is_repeated:
        yield value
    elif is_map(field):
        yield from value.values()
    else:
        yield from value
