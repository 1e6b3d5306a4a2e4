#!/usr/bin/env python3
"""What a controller costs that has nothing to do: CPU and memory of the real process, and of its Envoy.

    .venv/bin/python tests/bench/idle.py [--deployments 1000] [--replicas 4] [--seconds 30] [--worlds few asleep awake]

The real controller on a store that was filled for it: every replica serves, says so on its socket, and is asked by
nobody. All sockets lead to one small server (a second Envoy with fixed answers, whose CPU is not counted), all records
of processes to its process. Worlds, side by side: `few` (a fiftieth of the deployments), `asleep` (all of them with no
replica), `awake` (all of them with all replicas).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx
from sqlalchemy import update

from lyc.agent.shim import boot_id, start_ticks
from lyc.control.layout import attempt_directory, gateway_process
from lyc.gateway.envoy import envoy_binary
from lyc.records.engine import Reported
from lyc.records.scaling import ScalePolicy, ScalerState
from lyc.spec.settings import Settings, resolve
from lyc.store import Store, schema
from lyc.store.rows import to_column
from tests.bench.tick import fill
from tests.gateway.rig import free_port

METRICS = "".join(
    f"vllm:{name} 0.0\n"
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "generation_tokens_total")
)
SETTLE_SECONDS = 120.0
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def answers(socket: Path) -> dict[str, object]:
    """The bootstrap of a server that is well and has nothing to do."""
    routes = [
        {"match": {"path": path}, "direct_response": {"status": 200, "body": {"inline_string": body}}}
        for path, body in (("/health", "ok"), ("/metrics", METRICS), ("/v1/models", "{}"))
    ]
    hosts = {"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    router = {"name": "router", "typed_config": {"@type": ROUTER}}
    manager = {"@type": MANAGER, "stat_prefix": "engine", "route_config": hosts, "http_filters": [router]}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "engine", "address": {"pipe": {"path": str(socket), "mode": 0o600}}, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener]}}


@contextmanager
def engine(folder: Path) -> Iterator[tuple[Path, int]]:
    """Its socket and its pid."""
    socket, config = folder / "engine.sock", folder / "engine.json"
    config.write_text(json.dumps(answers(socket)))
    argv = [str(envoy_binary()), "-c", str(config), "--concurrency", "2", "--disable-hot-restart", "-l", "off"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        wait(socket.exists, "the engines' server listens")
        yield socket, process.pid
    finally:
        process.kill()
        process.wait()


def wait(condition: object, what: str, seconds: float = SETTLE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def furnish(settings: Settings, deployments: int, replicas: int, socket: Path, pid: int) -> None:
    """A home in which everything serves already."""
    settings.run_dir.mkdir(parents=True, mode=0o700)
    record = {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id(), "shim": pid}
    with closing(Store(settings.database)) as store:
        fill(store, deployments, replicas)
        store.set_meta("gateway.port", str(free_port()))
        policy = to_column(ScalePolicy(replicas, replicas or 1))
        with store._write() as connection:
            scaler = to_column(ScalerState(replicas))
            connection.execute(update(schema.DEPLOYMENTS).values(policy=policy, scaler=scaler))
            connection.execute(update(schema.RELEASES).values(reported=to_column(Reported())))
        for name, found in store.replicas_by_deployment().items():
            for number, one in enumerate(found):
                mine = replace(one, socket=str(settings.socket(f"{name}-{number}")))
                store.put_replica(mine)
                Path(mine.socket).symlink_to(socket)
                directory = attempt_directory(settings, mine)
                directory.mkdir(parents=True, mode=0o700)
                (directory / "process.json").write_text(json.dumps(record))
                (directory / "output.log").write_text("2026-01-01T00:00:00.000Z INFO: started\n" * 20)


def cpu(pid: int) -> float:
    """Seconds on a CPU of all threads of a process, those that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1000  # type: ignore[index]


def measure(deployments: int, replicas: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="lyc-idle-") as place, engine(Path(place)) as (socket, pid):
        folder = Path(place)
        env = {"PATH": os.environ["PATH"], "HOME": place, "LYC_HOME": f"{place}/h", "LYC_GATEWAY_PORT": "0"}
        settings = resolve(env)
        furnish(settings, deployments, replicas, socket, pid)
        with (folder / "log").open("wb") as log:
            began = time.monotonic()
            process = subprocess.Popen([sys.executable, "-m", "lyc.controller"], env=env, stderr=log)
        gateway = None
        try:
            transport = httpx.HTTPTransport(uds=str(settings.run_dir / "controller.sock"))
            with httpx.Client(transport=transport, base_url="http://controller", timeout=60) as client:
                wait(lambda: asked(client) is not None, "the controller answers")
                wait(lambda: (asked(client) or {}).get("state") == "running", "the gateway runs")
                up = time.monotonic() - began
                gateway = int(asked(client)["pid"])  # type: ignore[index]
                time.sleep(20)  # what comes once after a start is not idleness
                first, envoy, at = cpu(process.pid), cpu(gateway), time.monotonic()
                time.sleep(seconds)
                span = time.monotonic() - at
                found = {
                    "controller CPU %": 100 * (cpu(process.pid) - first) / span,
                    "Envoy CPU %": 100 * (cpu(gateway) - envoy) / span,
                    "controller MB": resident(process.pid),
                    "Envoy MB": resident(gateway),
                    "threads": len(list(Path(f"/proc/{process.pid}/task").iterdir())),
                    "up after s": up,
                }
                ready = client.get("/v1/deployments/d0").json()["replica_list"]
                assert sum(one["state"] == "ready" for one in ready) == replicas, ready
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            if gateway is not None:
                os.kill(gateway, signal.SIGKILL)
                wait((gateway_process(settings) / "exit.json").exists, "the gateway's end is noted")
    return found


def asked(client: httpx.Client) -> dict[str, object] | None:
    try:
        return dict(client.get("/v1/controller").json()["gateway"])
    except httpx.HTTPError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--worlds", nargs="+", default=["few", "asleep", "awake"], choices=["few", "asleep", "awake"])
    wish = parser.parse_args()
    few = max(1, wish.deployments // 50)
    sizes = {"few": (few, wish.replicas), "asleep": (wish.deployments, 0), "awake": (wish.deployments, wish.replicas)}
    found: dict[str, dict[str, float]] = {}
    for name in wish.worlds:
        found[name] = measure(*sizes[name], wish.seconds)
        print(name, {title: round(figure, 1) for title, figure in found[name].items()}, file=sys.stderr, flush=True)
    print(" " * 20 + "".join(f"{f'{sizes[name][0]} × {sizes[name][1]}':>14}" for name in found))
    for title in next(iter(found.values())):
        print(f"{title:20}" + "".join(f"{one[title]:14.1f}" for one in found.values()))


if __name__ == "__main__":
    main()
