"""The graph of a gateway -> Envoy messages by type and name (`gateway.translate_gateway`)."""
