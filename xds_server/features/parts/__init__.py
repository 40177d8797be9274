"""Building blocks that several features write with: texts, patterns, headers, paths.

In: values as users wrote them. Out: small Envoy messages, or a reported problem. Nothing here is a feature, decides
what applies where, or knows a carrier.
"""
