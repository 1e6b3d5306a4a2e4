"""Envoy's log → the one error that a user needs. Pure."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from lyc.errors import Failed, LycError, UsageError

_BIND = re.compile(r"cannot bind '(?P<address>[^']+):(?P<port>\d+)': (?P<why>[^;\n]+)")
_PIPE = re.compile(r"cannot bind '(?P<path>/[^']+)': (?P<why>[^;\n]+)")
_FATAL = re.compile(r"\[(critical|error)\]")
_INOTIFY = "assert failure: inotify_fd_"


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
        if _INOTIFY in line:
            return Failed(
                "gateway-inotify-exhausted",
                "the gateway cannot watch its files",
                why="this user has used up the inotify instances that the kernel allows",
                where="fs.inotify.max_user_instances",
                hint="sudo sysctl fs.inotify.max_user_instances=1024",
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


def port_taken(host: str, port: int, why: str = os.strerror(errno.EADDRINUSE)) -> UsageError:
    """The one error about a port or an address that cannot be had. `why` in the system's words."""
    ref, flag, hint = _BINDING.get(why, _BINDING[os.strerror(errno.EADDRINUSE)])
    what = f"the gateway cannot listen on {host}:{port}"
    return UsageError(ref, what, why=why, where=flag, hint=f"lyc controller stop && lyc controller start {hint}")


_PORT_FLAG, _PORT_WAY = "--gateway-port / LYC_GATEWAY_PORT", "--gateway-port PORT   (or LYC_GATEWAY_PORT=PORT)"
_BINDING = {
    os.strerror(errno.EADDRINUSE): ("port-in-use", _PORT_FLAG, _PORT_WAY),
    os.strerror(errno.EACCES): ("gateway-port-forbidden", _PORT_FLAG, f"{_PORT_WAY}, above 1023"),
    os.strerror(errno.EADDRNOTAVAIL): (
        "gateway-host-invalid",
        "--gateway-host / LYC_GATEWAY_HOST",
        "--gateway-host ADDRESS   (one of this machine's)",
    ),
}
