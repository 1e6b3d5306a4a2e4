"""Engines that serve and go wrong without ending: a real process on a real socket, and a clock moved by hand."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from lyc.control.deps import Deps
from lyc.control.layout import attempt_directory, engine_key
from lyc.control.observer import PULSE_SECONDS, Observer
from lyc.engines.pulse import SILENT_SECONDS, STALLED_SECONDS
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.process import ProcessSpec
from lyc.rollout import Seen
from lyc.spec.settings import load
from lyc.wiring import build_deps
from tests.e2e.harness import wait_for

WELL = Seen("running")


@dataclass
class Engine:
    """One that is ready. now: of the pulse's clock. there: requests that the gateway has sent it."""

    deps: Deps
    replica: Replica
    now: float = 0.0
    there: int = 0
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self.observer = Observer(self.deps, "chat", lambda _: self.there, pulse_clock=lambda: self.now, sure=1.0)

    def look(self, after: float = PULSE_SECONDS) -> Seen:
        self.now += after
        return self.observer.look(self.replica, "generate")

    def client(self, timeout: float = 10) -> httpx.Client:
        key = engine_key(self.deps.settings, "chat").reveal()
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=self.replica.socket), base_url="http://engine",
            headers={"authorization": f"Bearer {key}"}, timeout=timeout,
        )  # fmt: skip

    def behave(self, **fields: object) -> None:
        with self.client() as client:
            assert client.post("/stand-in", json=fields).status_code == 200

    def ask(self) -> threading.Thread:
        """One request that nobody waits for."""

        def run() -> None:
            with suppress(httpx.HTTPError), self.client(60) as client:
                client.post("/v1/completions", json={"model": "chat", "prompt": "a", "max_tokens": 3})

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    deps = build_deps(load({"LYC_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}))
    deps.settings.run_dir.mkdir(parents=True, exist_ok=True)
    replica = Replica(
        "chat-1-a", "chat", 1, "local", ReplicaState.STARTING, 0, 0, str(deps.settings.socket("r-a")), attempts=1
    )
    engine_key(deps.settings, "chat")
    directory = attempt_directory(deps.settings, replica)
    key = deps.settings.deployments_dir / "chat" / "engine.key"
    argv = (sys.executable, "-m", "lyc.testing.engine", "--uds", replica.socket, "--api-key-file", str(key))
    deps.supervisor.start(ProcessSpec(replica.id, directory, argv, {"PATH": "/usr/bin:/bin"}, {}, Path(replica.socket)))
    made = Engine(deps, replica)
    try:
        wait_for(lambda: made.look(0).listening, 30, "the engine")
        made.replica = replace(replica, state=ReplicaState.READY)
        yield made
    finally:
        deps.supervisor.stop(directory, grace=1)
        deps.store.close()


def test_one_that_serves(engine: Engine) -> None:
    for _ in range(5):
        engine.ask().join()
        assert engine.look() == WELL
    said = engine.observer.load("chat-1-a")
    assert said is not None
    assert (said.running, said.tokens > 0) == (0, True)
    assert engine.look(STALLED_SECONDS * 2) == WELL, "it has nothing to do"


def test_one_that_takes_requests_and_answers_none(engine: Engine) -> None:
    """Its health route says 200 all the time."""
    assert engine.look() == WELL
    engine.behave(stuck=True)
    engine.ask()
    engine.there = 1
    wait_for(lambda: engine.look() == WELL and engine.observer.load("chat-1-a"), 10, "a pulse")
    assert engine.look(STALLED_SECONDS) == WELL, "it is asked first"
    found = wait_for(lambda: engine.look().failure, 20, "the verdict")
    assert found["ref"] == "engine-hung"


def test_one_that_is_only_slow(engine: Engine) -> None:
    """It seemed to hang, and proves that it does not."""
    engine.there = 1
    assert engine.look() == WELL
    assert engine.look(STALLED_SECONDS + 1) == WELL
    wait_for(lambda: (said := engine.observer.load("chat-1-a")) and engine.look() and said.tokens > 0, 20, "a token")
    engine.there = 0
    for _ in range(10):
        assert engine.look(STALLED_SECONDS / 4).failure is None


def test_one_whose_server_says_nothing_at_all(engine: Engine) -> None:
    assert engine.look() == WELL
    engine.behave(hang=True)
    assert engine.look(SILENT_SECONDS * 9) == WELL, "once is nothing"
    assert engine.look(SILENT_SECONDS / 2) == WELL
    failure = engine.look(SILENT_SECONDS / 2).failure
    assert failure is not None
    assert failure["ref"] == "engine-silent"
