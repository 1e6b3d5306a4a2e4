"""The controller is killed at every write of every change, and started again: the end is the same, and nothing is lost.

Each change is walked point by point until one comes through alive. Besides the end state: no engine runs that the store
does not know, and none that it knows is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.load import burst
from tests.replicas.stand_in import Home, write_model

pytestmark = pytest.mark.slow
EVERY = bool(os.environ.get("LYC_EVERY_POINT"))
"""Every point of every change is walked only where there is time for it."""
GONE = 6
"""Exit code of a verb whose controller went away."""
STRIDE = 1 if EVERY else 8
MORTAL = Path(__file__).with_name("mortal.py")


@contextlib.contextmanager
def mortal(home: Home, file: Path, at: int, *, after: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that dies at its `at`th write from now on."""
    home.run("controller", "stop")
    file.write_text(json.dumps({"at": at, "after": after}))
    log = (home.home / "controller.log").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, MORTAL, file], env=home.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: home.run("controller", "status", code=None).returncode == 0, 30, "the mortal controller")
        assert home.controller_pid() == process.pid
        wait_for(lambda: settled(home), 60, "peace")
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: not file.read_text().startswith("{"), 30, "it to be armed")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(30)


def engines(home: Home) -> list[int]:
    """Processes of engines."""
    found = []
    for pid in home.pids():
        with contextlib.suppress(psutil.Error):
            words = psutil.Process(pid).cmdline()
            if len(words) > 2 and words[1].endswith("bin/vllm") and words[2] == "serve":
                found.append(pid)
    return found


def look(home: Home) -> dict[str, Any]:
    """The status of the deployment; asked again where its controller dies over the answer."""

    def said() -> Any:
        done = home.run("status", "chat", "--json", code=None)
        assert done.returncode in (0, GONE), done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else None

    found: dict[str, Any] = wait_for(said, 60, "an answer")
    return found


def settled(home: Home) -> bool:
    """Whether nothing is under way."""
    status = look(home)
    calm = all(one["state"] in ("ready", "stopped", "failed") for one in status["replica_list"])
    return calm and status["operation"] is None


@dataclass(frozen=True)
class Change:
    """do: one verb, which may fail with its controller. done: whether the end is reached, of the status."""

    name: str
    do: Callable[[Home], Any]
    done: Callable[[dict[str, Any]], bool]


def ready(status: dict[str, Any], release: int | None = None) -> int:
    return sum(one["state"] == "ready" and release in (None, one["release"]) for one in status["replica_list"])


def attempt(home: Home, *words: str) -> None:
    """A verb that is asked again when its controller died under it."""
    for _ in range(3):
        if home.run(*words, code=None).returncode == 0:
            return
    home.run(*words)


def scale(count: int) -> Change:
    return Change(
        f"scale to {count}",
        lambda home: attempt(home, "scale", "chat", "--min", str(count), "--max", str(max(count, 1)), "--idle", "1s"),
        lambda status: ready(status) == count,
    )


PAUSE = Change("pause", lambda home: attempt(home, "pause", "chat"), lambda status: ready(status) == 0)
RESUME = Change("resume", lambda home: attempt(home, "resume", "chat"), lambda status: ready(status) == 1)


def walked(home: Home, file: Path, change: Change, back: Change) -> int:
    """The number of points at which the controller died."""
    died, at = 0, 1
    while True:
        with mortal(home, file, at, after=bool(died % 2)) as process:
            change.do(home)
            wait_for(lambda: change.done(look(home)) and settled(home), 90, f"{change.name} at {at}")
            alive = process.poll() is None
        look(home)  # whoever comes next starts a controller that lives
        wait_for(lambda: len(engines(home)) == ready(look(home)), 30, f"one engine a replica at {at}")
        assert change.done(look(home)), (change.name, at)
        back.do(home)
        wait_for(lambda: back.done(look(home)) and settled(home), 90, back.name)
        if alive:
            return died
        died, at = died + 1, at + STRIDE


@pytest.mark.parametrize(
    ("change", "back", "least"),
    [(scale(2), scale(1), 2), (scale(1), scale(2), 2), (PAUSE, RESUME, 2), (RESUME, PAUSE, 2)],
    ids=["up", "down", "pause", "resume"],
)
def test_at_every_write(home: Home, tmp_path: Path, change: Change, back: Change, least: int) -> None:
    if not EVERY and change.name != "scale to 2":
        pytest.skip("much as an update; LYC_EVERY_POINT=1 walks it too")
    home.deploy()
    back.do(home)
    wait_for(lambda: back.done(look(home)) and settled(home), 90, back.name)
    assert walked(home, tmp_path / "points", change, back) >= least // STRIDE


def test_an_update_at_every_write(home: Home, tmp_path: Path) -> None:
    """Each a release of other weights."""
    home.deploy()
    seeds = iter(range(1, 250))

    def update(home: Home) -> None:
        model = write_model(tmp_path / "next", seed=next(seeds))
        attempt(home, "deploy", str(model), "--gpu", "cpu", "--name", "chat")

    def newest(status: dict[str, Any]) -> bool:
        last = max(one["number"] for one in status["releases"])
        return ready(status) == ready(status, last) == 1

    nothing = Change("nothing", lambda _: None, newest)
    assert walked(home, tmp_path / "points", Change("update", update, newest), nothing) >= 10 // STRIDE


def test_a_wake_at_every_write(home: Home, tmp_path: Path) -> None:
    """Whoever waits is answered all the same: held again by the next controller, or told to come again."""
    home.deploy("--min", "0", "--idle", "1s")
    url, key = home.status("chat")["url"], home.key()

    def wake(home: Home) -> None:
        wait_for(lambda: (look(home), burst(url, key, 3).perfect())[1], 60, "an answer")

    asleep = Change("sleep", lambda _: None, lambda status: ready(status) == 0)
    awake = Change("wake", wake, lambda _: True)
    wait_for(lambda: asleep.done(look(home)) and settled(home), 90, "sleep")
    assert walked(home, tmp_path / "points", awake, asleep) >= 4 // STRIDE
