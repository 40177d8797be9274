"""Cellway: a traffic-policy engine for Envoy.

In: policy documents (Gateway API, Envoy-Gateway-style policies, cells). Out: Envoy resources, live, over
xDS. This module holds the version, which the build reads; it imports nothing, so that every command and
every worker process starts fast.
"""

__version__ = "0.1.0"
