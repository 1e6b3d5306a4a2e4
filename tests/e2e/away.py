"""Deployments on hosts of the lab, and a client that keeps asking them and finds out what they may never do."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lyc.control.client import ControllerClient
from lyc.errors import LycError
from lyc.spec.settings import load
from tests.e2e.harness import Lyc, make, wait_for
from tests.lab.lab import Lab
from tests.lab.machine import Machine

BELIEVED_SECONDS = 12.0
"""So long after its last answer an endpoint may be called ready: silence is noticed after 8 s."""
TAKEN_UP_SECONDS = 2.0
"""The gateway looks for itself before it sends anything to what is ready again."""
ASK_SECONDS = 10.0
GATEWAY_CODES = {502: "bad_gateway", 503: "no_replica_ready replica_lost", 504: "replica_timeout"}


class Home:
    """A home whose SSH configuration knows hosts of the lab."""

    def __init__(self, cache: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lyc-away-"))
        self.lyc = make(self.folder / "lyc", cache)
        self.lyc.env["LYC_SSH_CONFIG"] = str(self._config)
        self._config.write_text(f"UserKnownHostsFile {self.folder}/known\nKexAlgorithms curve25519-sha256\n")

    @property
    def _config(self) -> Path:
        return self.folder / "config"

    def knows(self, lab: Lab, alias: str, machine: Machine, *lines: str) -> None:
        """From now on `ssh alias` leads there."""
        with self._config.open("a") as file:
            file.write(lab.host_block(alias, machine, *lines))

    def close(self) -> None:
        self.lyc.close()
        shutil.rmtree(self.folder)


@contextmanager
def home(cache: Path) -> Iterator[Home]:
    """A fresh one; what it has deployed is taken down afterwards."""
    made = Home(cache)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Served:
    """One deployment, as its user has it. deployed: what `lyc deploy --json` said."""

    lyc: Lyc
    machine: Machine
    deployed: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.deployed["name"])

    def ask(self, client: httpx.Client, words: str) -> bool:
        """Whether it was answered. An answer that is not to these words, or no error of the gateway, is a failure."""
        body = {"model": self.name, "prompt": words, "echo": True, "max_tokens": 2, "temperature": 0}
        answer = client.post("/completions", json=body)
        if answer.status_code == 200:
            document = answer.json()
            assert document["choices"][0]["text"].startswith(words), answer.text
            assert document["model"] == self.name, answer.text
            return True
        if answer.status_code == 500:  # the engine's own, as it dies
            assert answer.json()["error"]["type"] == "InternalServerError", answer.text
            return False
        assert answer.json()["error"]["code"] in GATEWAY_CODES.get(answer.status_code, "").split(), answer.text
        assert answer.status_code != 503 or answer.headers["retry-after"]
        return False

    def client(self, seconds: float = ASK_SECONDS) -> httpx.Client:
        return httpx.Client(
            base_url=self.deployed["url"], headers={"authorization": f"Bearer {self.deployed['key']}"}, timeout=seconds
        )

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return self.ask(client, "is anybody there")
            except httpx.TimeoutException:
                return False

    def replica(self) -> dict[str, Any]:
        """The only one that is not over, as `lyc status` tells it."""
        listed = self.lyc.status(self.name)["replica_list"]
        (one,) = (each for each in listed if each["state"] not in ("stopped", "failed"))
        return dict(one)

    def well(self, seconds: float = 90) -> dict[str, Any]:
        """Wait until `lyc status` says ready, which must then be so at once. Returns the replica."""
        wait_for(lambda: self.lyc.status(self.name)["state"] == "ready", seconds, "ready again")
        assert self.answers()
        return self.replica()

    def logs(self) -> str:
        return self.lyc.run("logs", self.name, "--tail", "5000").stdout


class Visitor:
    """Asks all the time, each time with other words, and looks what the controller says of the deployment meanwhile.

    lies: it was called ready though it had not answered for longer than may be believed. wrong: an answer to other
    words, or an error that is not the gateway's.
    """

    def __init__(self, served: Served) -> None:
        self.lies: list[str] = []
        self.wrong: list[str] = []
        self.states: list[str] = []
        self.answered = 0
        self.refused = 0
        self.last = time.monotonic()
        self.longest = 0.0
        self._ready_since = 0.0
        self._served = served
        self._controller = ControllerClient(load(served.lyc.env).controller_socket)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitor")

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.wrong
        assert not self.lies
        assert self.answered

    def _run(self) -> None:
        number = 0
        with self._served.client() as client:
            while not self._stop.is_set():
                number += 1
                self._visit(client, f"request {number}")
                self._stop.wait(0.1)

    def _visit(self, client: httpx.Client, words: str) -> None:
        before, answered = self._state(), False
        try:
            answered = self._served.ask(client, words)
        except httpx.TimeoutException:
            pass
        except (httpx.HTTPError, AssertionError) as error:
            self.wrong.append(repr(error))
        now = time.monotonic()
        if answered:
            self.answered += 1
            self.longest = max(self.longest, now - self.last)
            self.last = now
            return
        self.refused += 1
        until = max(self.last + BELIEVED_SECONDS, self._ready_since + TAKEN_UP_SECONDS)
        if before == self._state() == "ready" and now > until:
            self.lies.append(f"called ready {now - self.last:.1f} s after its last answer")

    def _state(self) -> str | None:
        """None while there is no controller that answers."""
        with contextlib.suppress(LycError, OSError):
            state = self._controller.deployment(self._served.name)["state"]
            if self.states[-1:] != [state]:
                self.states.append(state)
                self._ready_since = time.monotonic()
            return state
        return None
