"""A free port of loopback for an engine."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

from lyc.agent.answer import Refused

LOWEST, SPAN, TRIES = 10240, 16384, 200


def free_port(taken: Collection[int]) -> int:
    """A port that nobody listens on and that is in none of `taken`.

    Below the range from which the kernel gives ports to outgoing connections: one of those could take it while the
    engine is down for a moment. Raises Refused `no-free-port`.
    """
    try:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = 32768
    lowest = max(LOWEST, ephemeral - SPAN)
    highest = ephemeral if ephemeral > lowest + TRIES else lowest + SPAN
    for port in random.sample(range(lowest, highest), TRIES):
        if port not in taken and is_free(port):
            return port
    raise Refused("no-free-port", "no free port was found on this machine's loopback")


def is_free(port: int) -> bool:
    """Whether an engine could listen there now; what a connection that has ended still blocks counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
