"""The real thing: the `lyc` command in a home of its own, its controller, Envoy, vLLM on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lyc.hosts.local import MARK
from lyc.spec.settings import load

LYC = str(Path(sys.executable).with_name("lyc"))
FAST = ["--env", "VLLM_ENABLE_V1_MULTIPROCESSING=0", "--max-model-len", "512"]
"""A start of a third less time, in one process: for tests that are not about how an engine is built."""


def wait_for(condition: Callable[[], Any], seconds: float = 60, what: str = "the condition") -> Any:
    """The first true value of `condition`, asked again and again; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)
    return found


@dataclass
class Lyc:
    """One home, and the command in it."""

    home: Path
    env: dict[str, str]

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [LYC, *words], env=self.env | dict(env or {}), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(
        self, *words: str, code: int | None = 0, timeout: float = 240, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb and check its exit code. Whatever happens, a traceback is a failure."""
        process = self.start(*words, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"lyc {' '.join(words)} took more than {timeout} s\n{out}\n{err}\n{self.log()}")
        done = subprocess.CompletedProcess(words, process.returncode, out, err)
        assert words[0] == "logs" or "Traceback" not in err + out, err + out  # the engine's log may hold the engine's
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{out}\n{err}\n{self.log()}"
        return done

    def json(self, *words: str, code: int = 0, **options: Any) -> Any:
        document = json.loads(self.run(*words, "--json", code=code, **options).stdout)
        assert document["version"] == 1
        return document

    def error(self, *words: str, code: int, **options: Any) -> Any:
        """The error document of a verb that must fail."""
        return self.json(*words, code=code, **options)["error"]

    def status(self, name: str) -> Any:
        return self.json("status", name)

    def pids(self) -> list[int]:
        """Every process that this home has started and that is alive, but for controllers."""
        found = []
        for process in psutil.process_iter():
            try:
                if f"{MARK}={self.home}/".encode() in Path(f"/proc/{process.pid}/environ").read_bytes():
                    found.append(process.pid)
            except OSError:
                continue
        return found

    def controller_pid(self) -> int:
        return int(self.json("controller", "status")["pid"])

    @property
    def run_dir(self) -> Path:
        """Where the sockets are."""
        return load(self.env).run_dir

    def gauge(self, name: str, metric: str) -> float:
        """A metric of the only engine that runs, asked on its private socket with its private key."""
        key = (self.home / "deployments" / name / "engine.key").read_text()
        (socket,) = self.run_dir.glob("r-*.sock")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine") as engine:
            text = engine.get("/metrics", headers={"authorization": f"Bearer {key}"}).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"vllm:{metric}{{"))

    def log(self) -> str:
        path = self.home / "controller.log"
        return "\n".join(path.read_text().splitlines()[-40:]) if path.exists() else "(no controller log)"

    def engine_pid(self, name: str) -> int:
        return int(next(r["pid"] for r in self.status(name)["replica_list"] if r["state"] == "ready"))

    def close(self) -> None:
        """Take everything down and prove that nothing is left."""
        if not (self.home / "lyc.db").exists():
            return
        for deployment in self.json("ls")["deployments"]:
            self.run("down", deployment["name"], "--yes", "--drain-timeout", "1")
        wait_for(lambda: not self.pids(), 30, "the end of all processes")
        self.run("controller", "stop")
        shutil.rmtree(self.run_dir, ignore_errors=True)


def make(home: Path, cache: Path) -> Lyc:
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LYC_", "HF_", "AWS_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    env |= {
        "LYC_HOME": str(home),
        "LYC_CACHE": str(cache),
        "LYC_ENGINES": str(load(os.environ).engines),
        "LYC_GATEWAY_PORT": "0",
        "NO_COLOR": "1",
        "COLUMNS": "100",
        # No test may reach a hub by chance, and one that tries must fail at once.
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    return Lyc(home, env)
