"""Envoy's log → the one error that a user needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lyc.errors import Failed, LycError, UsageError

_BIND = re.compile(r"cannot bind '(?P<address>[^']+):(?P<port>\d+)': (?P<why>[^;\n]+)")
_PIPE = re.compile(r"cannot bind '(?P<path>/[^']+)': (?P<why>[^;\n]+)")
_FATAL = re.compile(r"\[(critical|error)\]")
_PORT_HINT = "lyc controller stop && lyc controller start --gateway-port PORT   (or LYC_GATEWAY_PORT=PORT)"


def diagnose(lines: Sequence[str]) -> LycError | None:
    """Why Envoy did not start or does not listen, from its log; None when the log holds nothing decisive."""
    for line in reversed(lines):
        if found := _BIND.search(line):
            return port_taken(found["address"], int(found["port"]), found["why"].strip())
        if found := _PIPE.search(line):
            return Failed(
                "gateway-socket-not-opened",
                "the gateway cannot open its admin socket",
                why=found["why"].strip(),
                where=found["path"],
                hint="lyc doctor",
            )
    decisive = tuple(line for line in lines if _FATAL.search(line))[-5:]
    if not decisive:
        return None
    return Failed(
        "gateway-failed",
        "the gateway refused its configuration or died",
        why="see the lines of its log below",
        hint="lyc doctor",
        detail=decisive,
    )


def port_taken(host: str, port: int, why: str = "Address already in use") -> UsageError:
    """The one error about a port that cannot be had."""
    return UsageError(
        "gateway-port-taken",
        f"the gateway cannot listen on {host}:{port}",
        why=why,
        where="--gateway-port / LYC_GATEWAY_PORT",
        hint=_PORT_HINT,
    )
