"""A slow and lossy link, in user space, since not every kernel has netem: copies frames between two interfaces.

nsenter --net=… python3 shaping.py IF1 IF2 DELAY_MS LOSS_PERCENT KBIT_PER_S
"""

from __future__ import annotations

import contextlib
import heapq
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 3
BUFFER, LONGEST_FRAME, QUEUE_SECONDS = 8 << 20, 70_000, 0.5


def opened(interface: str) -> socket.socket:
    """All that comes in at an interface. With its offload header, so that checksums and large segments pass."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        port.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    port.bind((interface, 0))
    port.setblocking(False)
    return port


def main(first: str, second: str, delay_ms: str, loss_percent: str, kbit: str) -> None:
    """Runs until it is killed. Delay: each way. A queue longer than half a second loses its newest frames."""
    left, right = opened(first), opened(second)
    other = {left: right, right: left}
    delay, loss, rate = float(delay_ms) / 1e3, float(loss_percent) / 100, float(kbit) * 125
    free = {left: 0.0, right: 0.0}
    queue: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            _, _, out, frame = heapq.heappop(queue)
            with contextlib.suppress(OSError):  # the cable is out, or the buffer is full: lost, as on a real link
                out.send(frame)
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        readable, _, _ = select.select([left, right], [], [], wait)
        now = time.monotonic()
        for port in readable:
            for _ in range(64):
                try:
                    frame = port.recv(LONGEST_FRAME)
                except OSError:
                    break
                at = now
                if rate:
                    at = max(now, free[port]) + len(frame) / rate
                if random.random() < loss or at - now > QUEUE_SECONDS:
                    continue
                if rate:
                    free[port] = at
                number += 1
                heapq.heappush(queue, (at + delay, number, other[port], frame))


if __name__ == "__main__":
    main(*sys.argv[1:])
