#!/usr/bin/env python3
"""What a look at every deployment costs the controller itself: rows from a real store, decided, beside the bare rows.

    .venv/bin/python tests/bench/tick.py [--deployments 1000] [--replicas 4] [--rounds 5]

A tick reads each deployment, its releases and its replicas, as its worker does it, and decides. Three worlds: all is
well (nothing to do), each deployment shall have one replica less, each has a new release. `rows`: the same rows by
sqlite3 alone, without a record made of any; `records`: through the store, which knows them; `first`: through one that
was just opened; `changed`: after each deployment was written to, once. Memory: the most that Python had allocated over
a tick, beyond what it had before; kept: by the store, of all. In alternation, medians.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sqlalchemy import insert

from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.plan import EngineBuild, Plan
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.rollout import Policy, Seen, Situation, decide
from lyc.store import Store, schema
from lyc.store.rows import to_row

NOW = 1_800_000_000.0
RUNNING = Seen("running", True, True, True, in_flight=0)
TABLES = (("deployments", "name"), ("releases", "deployment"), ("replicas", "deployment"))
Change = Callable[[Situation], Situation]


def fill(store: Store, deployments: int, replicas: int) -> None:
    """Each with two releases, of which the second serves."""
    plan = Plan(EngineBuild("vllm", "0.11.0"), "gpu")
    rows: dict[str, list[dict[str, object]]] = {"deployments": [], "releases": [], "replicas": []}
    for number in range(deployments):
        name = f"d{number}"
        policy, scaler = ScalePolicy(0, replicas + 1), ScalerState(replicas)
        rows["deployments"].append(to_row(Deployment(name, NOW, NOW, target=2, policy=policy, scaler=scaler)))
        for release, state in ((1, ReleaseState.SUPERSEDED), (2, ReleaseState.ACTIVE)):
            spec = DeploymentSpec(name, "acme/model", max_replicas=replicas)
            one = Release(name, release, spec, "1", "acme/model@1", "sha256:0", "/m", plan, state, NOW, active_at=NOW)
            rows["releases"].append(to_row(one))
        for index in range(replicas):
            identity = f"{name}-2-{index:06x}"
            socket = f"/run/lyc/{identity}"
            made = Replica(identity, name, 2, "local", ReplicaState.READY, NOW, NOW, socket, 1, ready_at=NOW)
            rows["replicas"].append(to_row(made))
    with store._write() as connection:
        for table in (schema.DEPLOYMENTS, schema.RELEASES, schema.REPLICAS):
            if rows[table.name]:
                connection.execute(insert(table), rows[table.name])


def bare(path: Path, names: list[str]) -> int:
    """The rows that a tick needs, one deployment after the other. How many."""
    with sqlite3.connect(path) as connection:
        return sum(
            len(connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (name,)).fetchall())
            for name in names
            for table, column in TABLES
        )


def load(store: Store, names: list[str]) -> list[Situation]:
    found = []
    for name in names:
        replicas = tuple(store.replicas(name))
        seen = {replica.id: RUNNING for replica in replicas}
        found.append(Situation(store.deployment(name), tuple(store.releases(name)), replicas, seen))
    return found


def touch(path: Path) -> None:
    """Change a column of every deployment and of one replica of each."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE deployments SET updated_at = updated_at + 1")
        connection.execute("UPDATE replicas SET updated_at = updated_at + 1 WHERE id LIKE '%-000000'")


def unchanged(situation: Situation) -> Situation:
    return situation


def fewer(situation: Situation) -> Situation:
    return replace(situation, desired=situation.deployment.scaler.desired - 1)


def released(situation: Situation) -> Situation:
    new = replace(situation.releases[-1], number=3, state=ReleaseState.PENDING, active_at=None)
    deployment = replace(situation.deployment, target=3)
    return replace(situation, deployment=deployment, releases=(*situation.releases, new))


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    wish = parser.parse_args()
    worlds: dict[str, Change] = {"nothing to do": unchanged, "one replica less": fewer, "a new release": released}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lyc.db"
        store = Store(path)
        fill(store, wish.deployments, wish.replicas)
        names = [one.name for one in store.deployments()]
        policy = Policy()
        spans: dict[str, list[float]] = {key: [] for key in ("rows", "first", "records", "changed", *worlds)}
        situations = load(store, names)
        changed = {key: [change(one) for one in situations] for key, change in worlds.items()}
        counts = {key: sum(len(decide(one, NOW, policy)) for one in all_of) for key, all_of in changed.items()}
        for _ in range(wish.rounds):
            spans["rows"].append(timed(lambda: bare(path, names)))
            with closing(Store(path)) as anew:
                spans["first"].append(timed(lambda anew=anew: load(anew, names)))
            touch(path)
            spans["changed"].append(timed(lambda: load(store, names)))
            spans["records"].append(timed(lambda: load(store, names)))
            for key, all_of in changed.items():
                spans[key].append(timed(lambda all_of=all_of: [decide(one, NOW, policy) for one in all_of]))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for name in names:  # one after the other, as workers do it: nothing of one is kept for the next
            decide(load(store, [name])[0], NOW, policy)
        most = tracemalloc.get_traced_memory()[1] - before
        with closing(Store(path)) as anew:
            before = tracemalloc.get_traced_memory()[0]
            anew.deployments()
            kept = tracemalloc.get_traced_memory()[0] - before
        store.close()
    median = {key: statistics.median(found) for key, found in spans.items()}
    tick = median["records"] + median["nothing to do"]
    answer = {
        "deployments": wish.deployments,
        "replicas": wish.deployments * wish.replicas,
        "seconds": {key: round(value, 4) for key, value in median.items()},
        "actions": counts,
        "microseconds to decide of a deployment": {
            key: round(1e6 * median[key] / wish.deployments, 1) for key in worlds
        },
        "tick over bare rows": round(tick / median["rows"], 1),
        "deciding over bare rows": round(median["nothing to do"] / median["rows"], 2),
        "first read over a tick's reads": round(median["first"] / median["records"], 1),
        "MB at most over a tick": round(most / 1e6, 2),
        "MB kept": round(kept / 1e6, 1),
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
