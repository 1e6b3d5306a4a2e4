#!/usr/bin/env python3
"""What a wake costs on a real engine on the CPU: a first start, a wake of one that was stopped, and being held for it.

    .venv/bin/python tests/bench/wake.py [--model sample:tiny] [--rounds 3]

    first     `lyc deploy` on a machine that has the engine, but neither the weights nor a compile cache: to its answer
    wake      a request for a deployment that is at zero: from the moment it is sent to the first byte of its answer
    held      of that, from the moment at which the engine has given its first answer, as `lyc status` has it
    direct    the same request when the replica is there

Medians in seconds (held and direct in milliseconds), and the CPU seconds that an engine took until it was ready, which
other work on the machine changes little. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.a_home import PATIENCE, Home, home, until

ASK = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1, "stream": True}


def first_byte(client: httpx.Client, at: Home) -> tuple[float, float]:
    """Seconds since the epoch: when a request was sent, and when its answer began."""
    began = time.time()
    with client.stream("POST", "/chat/completions", json=ASK | {"model": at.name}) as answer:
        answer.raise_for_status()
        next(answer.iter_bytes())
        return began, time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="sample:tiny")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what runs is taken down
    wakes: list[float] = []
    held: list[float] = []
    direct: list[float] = []
    used: list[float] = []
    with tempfile.TemporaryDirectory() as place, home(Path(place), "woken") as at:
        began = time.time()
        deployed = at.deploy(options.model, "--min", "0", "--idle", "1h")
        first, first_used = time.time() - began, at.used()
        headers = {"authorization": f"Bearer {deployed['key']}"}
        with httpx.Client(base_url=deployed["url"], headers=headers, timeout=PATIENCE) as client:
            for _ in range(options.rounds):
                at.run("scale", at.name, "--idle", "1s")
                until(lambda: at.json("scale", at.name)["desired"] == 0)
                at.stopped()
                at.run("scale", at.name, "--idle", "1h")
                sent, answered = first_byte(client, at)
                wakes.append(answered - sent)
                held.append((answered - float(at.newest()["ready_at"])) * 1000)
                used.append(at.used())
                sent, answered = first_byte(client, at)
                direct.append((answered - sent) * 1000)
                print(
                    f"wake {wakes[-1]:6.1f} s   held {held[-1]:6.1f} ms   direct {direct[-1]:6.1f} ms", file=sys.stderr
                )
        shown = at.json("scale", at.name)["wakes"]
    print(f"first {first:6.1f} s   {first_used:6.1f} CPU s")
    middle = statistics.median(wakes)
    print(f"wake  {middle:6.1f} s   {statistics.median(used):6.1f} CPU s   {middle / first:.2f}x of the first")
    ahead, there = statistics.median(held), statistics.median(direct)
    print(f"held  {ahead:6.1f} ms after its engine was ready, direct {there:.1f} ms: {ahead - there:+.1f} ms")
    print("as lyc scale has it: " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in shown.items()))


if __name__ == "__main__":
    main()
