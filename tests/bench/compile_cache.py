#!/usr/bin/env python3
"""What keeping compiled code is worth: starts of a real engine on the CPU with a compiled model (not eager).

    .venv/bin/python tests/bench/compile_cache.py [--model sample:tiny] [--rounds 2]

    nothing   nothing was ever compiled on this machine
    again     the same release, stopped and started
    tuned     other weights of the same base, for the first time, where the first have run

Seconds from the intent of the replica to its first answer, as `lyc status` has them, and the CPU seconds of its engine
until then, which other work on the machine changes little; interleaved, medians, and their ratio. Weights, engine and
page cache are warm in all three. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.a_home import Home, home

COMPILED = ("--engine-arg", "enforce-eager=false")


def started(at: Home, *, cold: bool = False) -> tuple[float, float]:
    """Stop it, start it anew. cold: all that was compiled is gone meanwhile."""
    at.run("pause", at.name)
    at.stopped()
    if cold:
        shutil.rmtree(at.cache / "compiled")
    at.run("resume", at.name)
    return at.took(), at.used()


def tuned(at: Home, model: str, seed: int) -> tuple[float, float]:
    """The first start of a model that differs in its files alone."""
    weights = at.cache / "snapshots" / at.place.joinpath("first").read_text()
    folder = at.place / f"tuned-{seed}"
    shutil.copytree(weights, folder)
    notes = folder / "README.md"
    notes.unlink(missing_ok=True)
    notes.write_text(f"tuned for the {seed}th time\n")
    at.deploy(str(folder), *COMPILED)  # beside the other, which nobody asks
    took = at.took(), at.used()
    at.deploy(model, *COMPILED)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="sample:tiny")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what runs is taken down
    found: dict[str, list[tuple[float, float]]] = {"nothing": [], "again": [], "tuned": []}
    with tempfile.TemporaryDirectory() as place, home(Path(place), "compiled") as at:
        at.deploy(options.model, *COMPILED)
        (first,) = (at.cache / "snapshots").iterdir()
        at.place.joinpath("first").write_text(first.name)
        for number in range(options.rounds):
            found["nothing"].append(started(at, cold=True))
            found["again"].append(started(at))
            found["tuned"].append(tuned(at, options.model, number))
            rows = (f"{key} {rows[-1][0]:6.1f} s, {rows[-1][1]:6.1f} CPU s" for key, rows in found.items())
            print("   ".join(rows), file=sys.stderr, flush=True)
        size = sum(path.stat().st_size for path in (at.cache / "compiled").rglob("*") if path.is_file())
    base = [statistics.median(row[part] for row in found["nothing"]) for part in (0, 1)]
    for key, rows in found.items():
        took, used = (statistics.median(row[part] for row in rows) for part in (0, 1))
        print(f"{key:>8} {took:6.1f} s {took / base[0]:.2f}x   {used:6.1f} CPU s {used / base[1]:.2f}x")
    print(f"kept: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
