#!/usr/bin/env python3
"""What the gateway costs: time to first byte, and CPU per million streamed chunks, beside going to the engine directly.

    .venv/bin/python tests/bench/gateway.py [--rounds 5] [--keys 10000] [--streams 128] [--chunks 100] [--interval 0.02]

    first byte   from the last byte of the request to the first byte of the body, on connections that are kept open,
                 one at a time and 32 at once; directly over the engine's unix socket, and through the gateway's port
    streams      many paced streams at once; CPU of Envoy by the scheduler's own count (nanoseconds on a CPU), and of
                 the engine stand-in in both cases
    requests     short JSON requests, 16 at once: CPU per request

Everything is on: keys (SHA-256, as many as wished), the fail-closed check, token counting, the access log. Rounds are
interleaved, the order turns with every round; medians. Printed as ratios and differences; nothing is asserted.
Backend and generator are Python: above some ten thousand chunks a second they, and not Envoy, are the limit. The
paced streams stay far below that (streams / interval chunks a second); the figures of CPU do not depend on it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lyc.records.gateway import KeyEntry
from tests.gateway.rig import Rig, StandIn, free_port

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Way:
    """One way to the engine."""

    connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
    head: str


@dataclass
class Answer:
    """One answer, read whole. first: seconds to the first byte of its body; chunks: pieces of its body."""

    first: float
    chunks: int


async def ask(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> Answer:
    """One request on an open connection."""
    writer.write(f"{way.head}content-length: {len(body)}\r\n\r\n".encode() + body)
    begun = time.perf_counter()
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not answered: {head!r}")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    if length:
        await reader.readexactly(int(length.partition(b":")[2]))
        return Answer(time.perf_counter() - begun, 1)
    first, chunks = 0.0, 0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        first = first or time.perf_counter() - begun
        data = await reader.readexactly(size + 2)
        chunks += data.count(b"\n\n")
    await reader.readexactly(2)
    return Answer(first, chunks)


async def load(way: Way, at_once: int, each: int, body: bytes) -> list[Answer]:
    """`each` requests one after the other on each of `at_once` connections."""

    async def one() -> list[Answer]:
        reader, writer = await way.connect()
        answers = [await ask(way, reader, writer, body) for _ in range(each)]
        writer.close()
        return answers

    return [answer for answers in await asyncio.gather(*(one() for _ in range(at_once))) for answer in answers]


def cpu(pid: int) -> float:
    """Seconds on a CPU of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def chat(tokens: int, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "one two three"}]
    return json.dumps({"model": "m", "messages": messages, "max_tokens": tokens, "stream": stream}).encode()


def report(name: str, direct: float, through: float, unit: str) -> None:
    print(f"  {name:<34} {direct:9.3f} → {through:9.3f} {unit:<22} ×{through / direct:.2f}")


def alone(name: str, figures: str) -> None:
    print(f"  {name:<34} {'':9}   {figures}")


def first_bytes(rounds: int, ways: Mapping[str, Way], at_once: int, each: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            answers = asyncio.run(load(ways[name], at_once, each, chat(8, stream=True)))
            times[name] += [answer.first * 1e3 for answer in answers]
    for part, at in (("p50", 0.50), ("p99", 0.99)):
        direct, through = (sorted(times[name])[int(len(times[name]) * at)] for name in ("direct", "gateway"))
        report(f"first byte, {at_once} at once, {part}", direct, through, f"ms  ({through - direct:+.2f} ms)")


def streams(rounds: int, ways: Mapping[str, Way], pids: Mapping[str, int], count: int, chunks: int) -> None:
    engine: dict[str, list[float]] = {name: [] for name in ways}
    envoy: list[float] = []
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            before = {who: cpu(pid) for who, pid in pids.items()}
            seen = sum(answer.chunks for answer in asyncio.run(load(ways[name], count, 1, chat(chunks, stream=True))))
            spent = {who: (cpu(pid) - before[who]) / seen * 1e6 for who, pid in pids.items()}
            engine[name].append(spent["engine"])
            if name == "gateway":
                envoy.append(spent["envoy"])
    title = f"stand-in, {count} paced streams"
    report(title, *(statistics.median(engine[name]) for name in ("direct", "gateway")), "CPU-s/M chunks")
    base, mine = statistics.median(engine["direct"]), statistics.median(envoy)
    alone("gateway, the same streams", f"{mine:9.3f} CPU-s/M chunks         ×{mine / base:.2f} of the stand-in")


def requests(rounds: int, ways: Mapping[str, Way], pids: Mapping[str, int]) -> None:
    envoy, rate = [], {name: [0.0] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            before, begun = cpu(pids["envoy"]), time.perf_counter()
            answers = asyncio.run(load(ways[name], 16, 60, chat(8, stream=False)))
            rate[name].append(len(answers) / (time.perf_counter() - begun))
            if name == "gateway":
                envoy.append((cpu(pids["envoy"]) - before) / len(answers) * 1e6)
    report("short requests, 16 at once", *(max(rate[name]) for name in ("direct", "gateway")), "requests/s")
    alone("gateway, the same requests", f"{statistics.median(envoy):9.1f} µs CPU a request")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--interval", type=float, default=0.02)
    wish = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lyc-gw-"))
    rig = Rig(home, free_port())
    try:
        engine = rig.stand_in("alpha-1-a")
        others = {f"other-{at}": hashlib.sha256(f"other-{at}".encode()).hexdigest() for at in range(wish.keys)}
        rig.entries += [KeyEntry(digest, name, "beta") for name, digest in others.items()]
        rig.start(alpha=[engine.endpoint], beta=[])
        assert rig.envoy
        ways, pids = ways_to(rig, engine), {"engine": engine.process.pid, "envoy": rig.envoy.pid}
        load_average = os.getloadavg()[0]
        print(f"direct → through the gateway; {wish.rounds} rounds, {wish.keys} keys, load {load_average:.1f}")
        first_bytes(wish.rounds, ways, 1, 60)
        first_bytes(wish.rounds, ways, 32, 8)
        requests(wish.rounds, ways, pids)
        engine.tell(interval=wish.interval)
        streams(wish.rounds, ways, pids, wish.streams, wish.chunks)
        lines = Path(f"/proc/{rig.envoy.pid}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        alone("gateway, resident memory", f"{resident / 1024:9.1f} MiB")
    finally:
        rig.close()
        shutil.rmtree(home)


def ways_to(rig: Rig, engine: StandIn) -> dict[str, Way]:
    def head(path: str, key: str) -> str:
        return f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"

    return {
        "direct": Way(lambda: asyncio.open_unix_connection(str(engine.socket)), head(CHAT, rig.engine_key)),
        "gateway": Way(
            lambda: asyncio.open_connection("127.0.0.1", rig.port), head(f"/alpha{CHAT}", rig.keys["alpha"])
        ),
    }


if __name__ == "__main__":
    main()
