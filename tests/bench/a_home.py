"""A home of its own for a bench, with the engine of this machine's cache and a cache of its own for all else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LYC = Path(sys.executable).with_name("lyc")
PATIENCE = 600.0


@dataclass(frozen=True)
class Home:
    """name: of the one deployment."""

    place: Path
    name: str

    @property
    def env(self) -> dict[str, str]:
        engines = Path(os.environ.get("LYC_CACHE") or Path.home() / ".cache" / "lyc") / "engines"
        paths = {"LYC_HOME": str(self.place / "home"), "LYC_CACHE": str(self.cache), "LYC_ENGINES": str(engines)}
        env = os.environ | paths | {"LYC_GATEWAY_PORT": "0"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return env

    @property
    def cache(self) -> Path:
        return self.place / "cache"

    def run(self, *words: str) -> str:
        """What a verb answered; it must succeed."""
        done = subprocess.run([LYC, *words], env=self.env, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"lyc {' '.join(words)}:\n{done.stderr.decode()[-3000:]}")
        return done.stdout.decode()

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def deploy(self, model: str, *words: str) -> Any:
        return self.json("deploy", model, "--name", self.name, "--gpu", "cpu", "--max-model-len", "512", *words)

    def newest(self) -> dict[str, Any]:
        """The replica that was made last."""
        rows: list[dict[str, Any]] = self.json("status", self.name)["replica_list"]
        return max(rows, key=lambda row: float(row["created_at"]))

    def took(self) -> float:
        """Seconds from the intent of the newest replica to its first answer."""
        row = self.newest()
        return float(row["ready_at"]) - float(row["created_at"])

    def used(self) -> float:
        """CPU seconds that the newest replica has used so far, with its children."""
        shim = psutil.Process(int(self.newest()["pid"]))
        times = [one.cpu_times() for one in (shim, *shim.children(recursive=True))]
        return sum(one.user + one.system + one.children_user + one.children_system for one in times)

    def stopped(self) -> None:
        """Wait until no engine runs."""
        until(
            lambda: all(row["state"] in ("stopped", "failed") for row in self.json("status", self.name)["replica_list"])
        )


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise SystemExit("it did not come to pass")
        time.sleep(0.2)


@contextmanager
def home(place: Path, name: str) -> Iterator[Home]:
    """Taken down at the end, whatever happens."""
    made = Home(place, name)
    try:
        yield made
    finally:
        for words in (["down", name, "--yes", "--drain-timeout", "1"], ["controller", "stop"]):
            subprocess.run([LYC, *words], env=made.env, check=False, stdin=subprocess.DEVNULL, capture_output=True)
