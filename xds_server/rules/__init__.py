"""The validation rules that the descriptors of Envoy's API carry, checked before Envoy sees a message.

In: any protobuf message. Out: the first violation as a line for people, or None. Envoy refuses what breaks
these rules (protoc-gen-validate semantics), so a NACK becomes a diagnostic at compile time. `messages.py`
walks messages, `values.py` holds the rules of single values. What Envoy checks beyond its descriptors (say,
that a regex compiles) is not known here.
"""

from xds_server.rules.messages import Rules

__all__ = ["Rules"]
