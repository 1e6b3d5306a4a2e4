#!/usr/bin/env python3
"""From `lyc deploy` to an answer, beside bare `vllm serve` to the same answer.

    .venv/bin/python tests/bench/deploy.py [--model sample:tiny] [--rounds 3] [--keep-controller]

Weights and engine are in the cache. Nothing runs at the start of a round, or with --keep-controller only what an
earlier deploy has left: the controller and the gateway. Bare vLLM gets the very argv and environment
that lyc gave it. Both are timed until a chat request of eight tokens has been answered whole. Interleaved rounds,
medians, as ratio and difference.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LYC = Path(sys.executable).with_name("lyc")
NAME = "bench"
ASK = {"model": NAME, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
PATIENCE = 300.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def lyc(env: dict[str, str], *words: str) -> float:
    """Seconds that one verb took; it must succeed."""
    began = time.perf_counter()
    subprocess.run([LYC, *words], env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began


def deploy(env: dict[str, str], model: str) -> float:
    """Seconds from nothing running to an answer: controller, gateway, engine, and one request through all of them."""
    return lyc(env, "deploy", model, "--name", NAME, "--gpu", "cpu", "--max-model-len", "512")


def tear_down(env: dict[str, str], *, keep_controller: bool = False) -> None:
    """Back to nothing running; also after a round that was cut short."""
    stop = [] if keep_controller else [["controller", "stop"]]
    for words in (["down", NAME, "--yes", "--drain-timeout", "1"], *stop):
        subprocess.run([LYC, *words], env=env, check=False, stdin=subprocess.DEVNULL, capture_output=True)


def recipe(home: Path, scratch: Path) -> tuple[list[str], dict[str, str], Path, str]:
    """What lyc ran: argv (with a socket and a file of its own), env, that socket, the engine's key."""
    spec = json.loads(next(home.glob(f"deployments/{NAME}/replicas/*/*/spec.json")).read_text())
    argv: list[str] = spec["argv"]
    config, listen = argv.index("--config") + 1, argv.index("--uds") + 1
    text = Path(argv[config]).read_text()
    (scratch / "engine.yaml").write_text(text)
    argv[config], argv[listen] = str(scratch / "engine.yaml"), str(scratch / "engine.sock")
    env = {name: value for name, value in spec["env"].items() if name != "LYC_SUPERVISED"}
    return argv, env, scratch / "engine.sock", json.loads(text)["api-key"]


@contextmanager
def running(argv: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The engine in a process group of its own, which ends with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, process_group=0)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def serve(argv: list[str], env: dict[str, str], listen: Path, key: str) -> float:
    """Seconds from the start of bare vLLM to its answer."""
    listen.unlink(missing_ok=True)
    began = time.perf_counter()
    with running(argv, env, listen.with_suffix(".log")) as process:
        while not answers(listen, "GET", "/health", key):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise SystemExit(f"vLLM did not start:\n{listen.with_suffix('.log').read_text()[-2000:]}")
            time.sleep(0.05)
        if not answers(listen, "POST", "/v1/chat/completions", key):
            raise SystemExit("vLLM did not answer")
        return time.perf_counter() - began


def answers(listen: Path, method: str, path: str, key: str) -> bool:
    connection = UnixConnection(listen)
    try:
        body = json.dumps(ASK) if method == "POST" else None
        connection.request(method, path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return False
    finally:
        connection.close()
    return answer.status == 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample:tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep-controller", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what runs is taken down
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        home, scratch = Path(place) / "home", Path(place)
        env = {**os.environ, "LYC_HOME": str(home), "LYC_GATEWAY_PORT": "0"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            deploy(env, options.model)  # fills the caches, and writes the recipe
            what = recipe(home, scratch)
            for _ in range(options.rounds):
                tear_down(env, keep_controller=options.keep_controller)
                bare.append(serve(*what))
                ours.append(deploy(env, options.model))
                print(f"vllm serve {bare[-1]:6.2f} s   lyc deploy {ours[-1]:6.2f} s", file=sys.stderr, flush=True)
        finally:
            tear_down(env)
    lyc_s, vllm_s = statistics.median(ours), statistics.median(bare)
    print(f"lyc deploy {lyc_s:.2f} s, vllm serve {vllm_s:.2f} s: {lyc_s / vllm_s:.3f}x, {lyc_s - vllm_s:+.2f} s")


if __name__ == "__main__":
    main()
