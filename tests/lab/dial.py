"""Connects to an address and hands the connected socket over its stdout (`ProxyUseFdpass`), so that nothing has to
copy bytes. Started inside of the lab's network namespace: `nsenter --net=… python3 dial.py ADDRESS PORT SECONDS`.
"""

from __future__ import annotations

import socket
import sys


def main(address: str, port: str, seconds: str) -> int:
    """0 when the socket was handed over; 1 with the reason on stderr."""
    try:
        connection = socket.create_connection((address, int(port)), timeout=float(seconds))
    except OSError as error:
        print(f"connect to {address} port {port}: {error}", file=sys.stderr)
        return 1
    connection.setblocking(True)
    with socket.socket(fileno=sys.stdout.fileno()) as out:
        socket.send_fds(out, [b"\0"], [connection.fileno()])
        out.detach()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
