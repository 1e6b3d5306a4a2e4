#!/usr/bin/env python3
"""A second `lyc deploy` to a prepared host, beside bare `ssh HOST systemctl start` of the same engine there.

    .venv/bin/python tests/bench/deploy_host.py [--model sample:tiny] [--rounds 3]

The host is one of the lab (root; see tests/lab), prepared by a first deploy: engine and weights are there, the
controller runs. Both are timed until a chat request of eight tokens has been answered whole: lyc's through gateway and
tunnel, the bare one's asked on the host itself, in the same ssh command. Interleaved rounds, medians, as ratio and
difference.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lyc.engines.versions import pinned
from lyc.hosts.environment import UvInstaller
from lyc.spec.settings import load
from tests.lab.fixtures import ENGINE_DISK, ENGINES
from tests.lab.lab import Lab
from tests.lab.machine import Machine

LYC = Path(sys.executable).with_name("lyc")
NAME = "bench"
ASK = {"model": NAME, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
UNIT = "/etc/systemd/system/bare.service"
CLIENT = """
import json, sys, time, urllib.request
port, key, body = sys.argv[1:]
headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
end = time.monotonic() + 300
while True:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
        break
    except OSError:
        assert time.monotonic() < end
        time.sleep(0.05)
url = f"http://127.0.0.1:{port}/v1/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=300).read()
"""


def lyc(env: dict[str, str], *words: str) -> float:
    """Seconds that one verb took; it must succeed."""
    began = time.perf_counter()
    done = subprocess.run([LYC, *words], env=env, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"lyc {' '.join(words)}: {done.stderr[-3000:]}")
    return time.perf_counter() - began


def capture(machine: Machine) -> tuple[str, str]:
    """(port, key) of the engine that lyc runs on the host; makes a plain unit of the same argv and environment."""
    folder = machine.shell("ls -d /var/lib/lyc/replicas/*/").split()[0].rstrip("/")
    spec = json.loads(machine.shell(f"cat {folder}/spec.json"))
    machine.shell(f"mkdir -p /opt/bare && cp -r {folder}/. /opt/bare/ && chown -R lyc /opt/bare")
    config = next(line for line in machine.shell(f"find {folder} -name engine.yaml").splitlines())
    key = json.loads(machine.shell(f"cat {config}"))["api-key"]
    machine.shell(f"cp {config} /opt/bare/engine.yaml && chown lyc /opt/bare/engine.yaml")
    argv = ["/opt/bare/engine.yaml" if word.endswith("/engine.yaml") else word for word in spec["argv"]]
    env = "".join(f'Environment="{name}={value}"\n' for name, value in spec["env"].items())
    text = f"[Service]\nUser=lyc\n{env}ExecStart={shlex.join(argv)}\n"
    machine.shell(f"cat > {UNIT} && systemctl daemon-reload", stdin=text)
    (machine.root / "opt/bare/client.py").write_text(CLIENT)
    return str(spec["port"]), key


def bare(ssh: list[str], port: str, key: str) -> float:
    """Seconds of one ssh command that starts the unit and asks it."""
    ask = shlex.join(["python3", "/opt/bare/client.py", port, key, json.dumps(ASK)])
    began = time.perf_counter()
    subprocess.run([*ssh, f"systemctl start bare && {ask}"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample:tiny")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    lab = Lab()
    with tempfile.TemporaryDirectory(prefix="lyc-bench-") as scratch:
        try:
            measure(lab, Path(scratch), asked.model, asked.rounds)
        finally:
            lab.close()


def measure(lab: Lab, scratch: Path, model: str, rounds: int) -> None:
    bin_dir = UvInstaller(load(os.environ).engines, os.environ).bin_dir(pinned(on_cpu=True))
    if bin_dir is None:
        raise SystemExit("the engine for the CPU is not installed here")
    engine = bin_dir.parent
    layer = lab.engine(engine, f"{ENGINES}/{pinned(on_cpu=True).id}/{engine.name}")
    (machine,) = lab.borrow(1, over=(layer,), disk=ENGINE_DISK)
    config = scratch / "config"
    config.write_text(f"UserKnownHostsFile {scratch}/known\n{lab.host_block('box', machine)}")
    env = dict(os.environ) | {"LYC_HOME": str(scratch / "home"), "LYC_SSH_CONFIG": str(config), "LYC_GATEWAY_PORT": "0"}
    words = ("deploy", model, "--name", NAME, "--host", "ssh://root@box", "--accept-host-key", "accept-new",
             "--max-model-len", "512")  # fmt: skip
    down = ("down", NAME, "--yes", "--drain-timeout", "1")
    ssh = ["ssh", "-F", str(config), "-o", "StrictHostKeyChecking=accept-new", "root@box"]
    try:
        print(f"first deploy, to a bare host with an engine: {lyc(env, *words):.1f} s")
        port, key = capture(machine)
        lyc(env, *down)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(lyc(env, *words))
            lyc(env, *down)
            theirs.append(bare(ssh, port, key))
            machine.shell("systemctl stop bare")
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"second deploy {mine:.1f} s, ssh and systemctl {other:.1f} s: {mine / other:.2f}x, {mine - other:+.1f} s"
        )
    finally:
        for last in (down, ("hosts", "rm", "box", "--purge", "--yes"), ("controller", "stop")):
            subprocess.run([LYC, *last], env=env, check=False, stdin=subprocess.DEVNULL, capture_output=True)


if __name__ == "__main__":
    main()
