#!/usr/bin/env python3
"""Ten thousand keys: how long until a new one opens and a revoked one does not, and what they cost a request.

    .venv/bin/python tests/bench/keys.py [--keys 10000] [--deployments 1000] [--rounds 20]

Side by side: one deployment with one key, one deployment with all keys, and all deployments with all keys. Real store,
real Envoy with its supervisor, an engine that answers at once; by the calls that the controller's API makes.

    load           the store is opened and all keys are read
    create, revoke until the call returns, by when the gateway has it
    opens, shuts   requests that were answered otherwise after that
    request        a small request on a connection that is kept, key check and all
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx
from sqlalchemy import insert

from lyc.control.gatekeeper import Gatekeeper
from lyc.control.keys import Keys
from lyc.control.layout import gateway_process
from lyc.records.key import Key
from lyc.spec.settings import resolve
from lyc.store import Store, schema
from lyc.store.rows import to_row
from lyc.wiring import build_deps
from tests.bench.idle import engine, wait
from tests.bench.tick import NOW, fill
from tests.gateway.rig import free_port

T = TypeVar("T")


def timed(found: list[float], work: Callable[[], T]) -> T:
    began = time.perf_counter()
    answer = work()
    found.append(time.perf_counter() - began)
    return answer


def furnish(path: Path, deployments: int, keys: int, socket: Path) -> None:
    with closing(Store(path)) as store:
        fill(store, deployments, 1)
        for found in store.replicas_by_deployment().values():
            Path(found[0].socket).parent.mkdir(parents=True, exist_ok=True)
        store.set_meta("gateway.port", str(free_port()))
        rows = []
        for number in range(keys):
            digest = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
            rows.append(to_row(Key(f"key-{number:08x}", f"d{number % deployments}", digest, "lyc_abcd", "", NOW)))
        with store._write() as connection:
            connection.execute(insert(schema.KEYS), rows)
            connection.execute(schema.REPLICAS.update().values(socket=str(socket)))


def measure(deployments: int, keys: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="lyc-keys-") as place, engine(Path(place)) as (socket, _):
        env = {"PATH": os.environ["PATH"], "HOME": place, "LYC_HOME": f"{place}/h"}
        settings = resolve(env)
        furnish(settings.database, deployments, keys, socket)
        spans: dict[str, list[float]] = {name: [] for name in ("load", "create", "revoke", "request")}
        with closing(Store(settings.database)) as store:
            assert len(timed(spans["load"], store.list_keys)) == keys
        settings.run_dir.mkdir(parents=True, mode=0o700)
        deps = build_deps(settings)
        gatekeeper = Gatekeeper(deps)
        made = Keys(deps, gatekeeper)
        gatekeeper.sync()
        pid = 0
        late = {"opens": 0, "shuts": 0}
        try:
            wait(lambda: len(deps.gateway.status().healthy or ()) == deployments, "every engine is in rotation")
            pid = deps.gateway.status().pid or 0
            with httpx.Client(base_url=f"http://127.0.0.1:{gatekeeper.port}", timeout=30) as client:

                def ask(secret: str) -> int:
                    return client.get("/d0/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code

                for _ in range(rounds):
                    key, secret = timed(spans["create"], lambda: made.create("d0", "bench", None))
                    while ask(secret.reveal()) != 200:
                        late["opens"] += 1
                    for _ in range(50):
                        timed(spans["request"], lambda: ask(secret.reveal()))  # noqa: B023 - called at once
                    timed(spans["revoke"], lambda: made.revoke("d0", key.id))  # noqa: B023
                    while ask(secret.reveal()) != 401:
                        late["shuts"] += 1
        finally:
            record = gateway_process(settings)
            deps.supervisor.stop(record, grace=2.0)
            if pid and deps.supervisor.status(record).state == "running":
                os.kill(pid, signal.SIGKILL)
            deps.store.close()
    return {f"{name} ms": 1e3 * statistics.median(found) for name, found in spans.items()} | late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    wish = parser.parse_args()
    worlds = {"1 × 1": (1, 1), "all × 1": (1, wish.keys), "all × all": (wish.deployments, wish.keys)}
    found = {name: measure(*size, wish.rounds) for name, size in worlds.items()}
    print(f"{'keys × deployments':20}" + "".join(f"{name:>12}" for name in worlds) + "       ratios to the first")
    for title, base in found["1 × 1"].items():
        ratios = "  ".join(f"{one[title] / base:8.1f}" for one in found.values()) if base else ""
        print(f"{title:20}" + "".join(f"{one[title]:12.2f}" for one in found.values()) + f"   {ratios}")


if __name__ == "__main__":
    main()
