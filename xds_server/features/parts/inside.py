"""Addresses that are inside: nobody outside can own them, so a name that leads to one leads to a machine of ours.

Loopback, private and shared networks, link-local (cloud metadata), multicast and reserved addresses, IPv4 and IPv6, and
also where IPv6 carries an IPv4 address.
"""

from __future__ import annotations

INSIDE = (
    *(
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
    ),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)
"""IPv6: unspecified, loopback, all that carry an IPv4 address (mapped, compatible, NAT64, Teredo, 6to4), and private ones."""
