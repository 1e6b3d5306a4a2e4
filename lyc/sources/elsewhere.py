"""Whether an address means the same server on another machine. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def reachable_elsewhere(url: str) -> bool:
    """False for an address of this machine alone: `localhost`, 127.0.0.0/8, ::1."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host not in ("", "localhost") and not host.endswith(".localhost")
    return not (address.is_loopback or address.is_unspecified)
