#!/usr/bin/env python3
"""What being held costs: to the first byte of an answer, for requests that waited in the activator for a replica.

    .venv/bin/python tests/bench/held.py [--rounds 20] [--waiting 1 50 200]

    direct   the replica is there: from the moment at which the requests are sent
    routed   they wait: from the moment at which the controller begins to route to a replica that is ready. All is in
             it: the endpoints' file is written and read, Envoy checks health, the activator is told, all is sent again
    handed   they wait: from the moment at which Envoy sends requests to the replica, as the controller sees it

A round is n requests at once, on a connection each, for one token of an engine stand-in. Medians and the worst, over
all requests of all rounds, in milliseconds; the difference to `direct` is what is to be judged. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.gateway.rig import Rig, StandIn, free_port, until, until_async
from tests.gateway.waker import Starter

BODY = {"model": "m", "messages": [{"role": "user", "content": "go"}], "max_tokens": 1, "stream": True}


async def first_bytes(rig: Rig, count: int, held_for: StandIn | None = None) -> tuple[float, list[float]]:
    """When it began, and when the first byte of each answer came; with `held_for` it begins once all wait for it."""

    async def one() -> float:
        async with client.stream("POST", "/alpha/v1/chat/completions", json=BODY, headers=rig.headers()) as answer:
            async for _ in answer.aiter_bytes():
                return time.monotonic()
        raise SystemExit(f"not answered: {answer.status_code}")

    async with rig.client() as client:
        begun = time.monotonic()
        tasks = [asyncio.create_task(one()) for _ in range(count)]
        if held_for:
            await until_async(lambda: rig.at_activator() == count, "all wait")
            begun = time.monotonic()
            await asyncio.to_thread(rig.apply, alpha=[held_for.endpoint], beta=[])
        return begun, list(await asyncio.gather(*tasks))


def figures(rig: Rig, starter: Starter, engine: StandIn, count: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds to the first byte, of every request."""
    found: dict[str, list[float]] = {"direct": [], "routed": [], "handed": []}
    for _ in range(rounds):
        rig.apply(alpha=[], beta=[])
        until(lambda: not starter.ready, "nobody is there")
        begun, ends = asyncio.run(first_bytes(rig, count, engine))
        found["routed"] += [(end - begun) * 1000 for end in ends]
        found["handed"] += [(end - starter.seen_at) * 1000 for end in ends]
        begun, ends = asyncio.run(first_bytes(rig, count))
        found["direct"] += [(end - begun) * 1000 for end in ends]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--waiting", type=int, nargs="+", default=[1, 50, 200])
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lyc-gw-"))
    rig = Rig(home, free_port())
    starter = Starter(rig)
    rig.activator = str(starter.path)
    try:
        engine = rig.stand_in("alpha-1-a")
        rig.start(alpha=[], beta=[])
        starter.start().look_always()
        print(f"{'waiting':>8} {'way':>8} {'median ms':>10} {'worst ms':>10} {'median more':>12} {'worst more':>12}")
        for count in arguments.waiting:
            found = figures(rig, starter, engine, count, arguments.rounds)
            direct = found["direct"]
            for way, times in found.items():
                middle, worst = statistics.median(times), max(times)
                more = f"{middle - statistics.median(direct):12.1f} {worst - max(direct):12.1f}"
                print(f"{count:>8} {way:>8} {middle:10.1f} {worst:10.1f} {more}")
    finally:
        starter.close()
        rig.close()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
