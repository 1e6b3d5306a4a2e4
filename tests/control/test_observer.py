"""Engines that serve and go wrong without ending: a real process on a real socket, and a clock moved by hand."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lyc.control.deps import Deps
from lyc.control.layout import attempt_directory, engine_key
from lyc.control.observer import PULSE_SECONDS, Observer
from lyc.engines.coming import MUTE_SECONDS, UNANSWERED_SECONDS
from lyc.engines.pulse import BARREN_SECONDS, SILENT_SECONDS, STALLED_SECONDS
from lyc.ports import Sites, Supervisor
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.process import ProcessSpec, ProcessStatus
from lyc.rollout import Seen
from lyc.spec.settings import load
from lyc.wiring import build_deps
from tests.e2e.harness import wait_for

WELL = Seen("running")


@dataclass
class Retold:
    """A supervisor whose machine has started its processes so often by itself."""

    real: Supervisor
    starts: int = 1
    rebooted: bool = False

    def status(self, directory: Path) -> ProcessStatus:
        return replace(self.real.status(directory), starts=self.starts, rebooted=self.rebooted)


@dataclass
class Here:
    """This machine, with a supervisor of its own."""

    real: Sites
    supervisor: Any

    def site(self, host: str) -> Here:
        assert host == "local"
        return self


@dataclass
class Engine:
    """One that is ready. now: of the pulse's clock. there: requests that the gateway waits for there, sent: all that it
    has ever sent there. told: once a first completion was answered.
    """

    deps: Deps
    replica: Replica
    now: float = 0.0
    there: int = 0
    sent: int = 0
    told: threading.Event = field(default_factory=threading.Event)
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self.observe(self.deps.supervisor)

    def observe(self, supervisor: Supervisor) -> None:
        """Anew, by another supervisor."""
        deps = replace(self.deps, sites=Here(self.deps.sites, supervisor))
        self.observer = Observer(
            deps, "chat", lambda _: self.there, pulse_clock=lambda: self.now, sure=1.0, sent=lambda _: self.sent,
            answered=self.told.set,
        )  # fmt: skip

    def become(self, state: ReplicaState) -> None:
        self.replica = replace(self.replica, state=state)

    def asked(self) -> int:
        """Requests that have come to it."""
        with self.client() as client:
            return int(client.get("/stand-in").json()["requests"])

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
        wait_for(lambda: "listens" in (directory / "output.log").read_text(), 30, "all that it says")
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


def test_one_that_refuses_all_and_says_that_it_is_well(engine: Engine) -> None:
    """Its health and its metrics are those of one that has nothing to do."""
    assert engine.look() == WELL
    engine.behave(answer=500)
    for _ in range(3):
        engine.sent += 1
        assert engine.look() == WELL
    found = wait_for(lambda: engine.look(BARREN_SECONDS).failure, 20, "the verdict")
    assert (found["ref"], "HTTP 500" in found["what"]) == ("engine-refuses", True)


def test_requests_that_are_refused_for_what_they_are(engine: Engine) -> None:
    """Whoever asks for nonsense gets no token either; the engine is asked for one, and is well."""
    assert engine.look() == WELL
    with engine.client() as client:
        for _ in range(3):
            assert client.post("/v1/completions", content=b"nonsense").status_code == 400
            engine.sent += 1
            assert engine.look() == WELL
    before = engine.asked()
    engine.look(BARREN_SECONDS)
    wait_for(lambda: engine.asked() > before, 20, "its being asked")
    for _ in range(10):
        assert engine.look(BARREN_SECONDS).failure is None


def test_a_first_answer_that_never_comes(engine: Engine) -> None:
    """It is waited for beside the loop, which has others to look after; and not for ever."""
    engine.become(ReplicaState.PROBING)
    engine.behave(stuck=True)
    for _ in range(5):
        assert engine.look() == WELL
    wait_for(lambda: engine.asked() == 1, 20, "the question")
    assert engine.look(UNANSWERED_SECONDS - 60) == WELL
    failure = engine.look(60).failure
    assert failure is not None
    assert failure["ref"] == "engine-unproven"
    assert engine.asked() == 1, "it has one to answer already"


def test_a_first_answer(engine: Engine) -> None:
    engine.become(ReplicaState.PROBING)
    assert wait_for(lambda: engine.look().proven, 20, "the answer")
    assert engine.told.is_set(), "the loop need not wait for its next turn"
    engine.behave(stuck=True)
    engine.become(ReplicaState.STARTING)
    engine.look()
    engine.become(ReplicaState.PROBING)
    assert not engine.look().proven, "that was another time"


def test_a_first_answer_that_is_a_refusal(engine: Engine) -> None:
    engine.become(ReplicaState.PROBING)
    engine.behave(answer=500)
    failure = wait_for(lambda: engine.look().failure, 20, "the verdict")
    assert failure["ref"] == "engine-probe-failed"


def test_a_first_answer_that_is_not_yet(engine: Engine) -> None:
    engine.become(ReplicaState.PROBING)
    engine.behave(answer=503)
    wait_for(lambda: (engine.look(), engine.asked())[1] >= 3, 20, "its being asked again")
    engine.behave(answer=200)
    assert wait_for(lambda: engine.look().proven, 20, "the answer")


def test_a_start_that_says_nothing_more(engine: Engine) -> None:
    engine.become(ReplicaState.LOADING)
    engine.replica = replace(engine.replica, socket=engine.replica.socket + ".none")  # it does not listen
    assert engine.look() == WELL
    assert engine.look(MUTE_SECONDS - 5) == WELL
    failure = engine.look(5).failure
    assert failure is not None
    assert failure["ref"] == "engine-mute"
    with (attempt_directory(engine.deps.settings, engine.replica) / "output.log").open("a") as log:
        log.write("2026-01-02T03:04:05Z Loading safetensors checkpoint shards: 50% Completed | 1/2 [00:01<00:01]\n")
    assert engine.look().failure is None, "it gets on"
    engine.become(ReplicaState.STARTING)
    assert engine.look().failure is None
    assert engine.look(MUTE_SECONDS - 5).failure is None, "another state has the time anew"


def test_what_its_host_has_started_again_is_another(engine: Engine) -> None:
    """Whatever was found of the former one, or is found only afterwards."""
    supervisor = Retold(engine.deps.supervisor)
    engine.observe(supervisor)
    assert engine.look() == WELL
    engine.behave(stuck=True)
    engine.there = 1
    engine.look()
    engine.look(STALLED_SECONDS)
    wait_for(lambda: engine.asked() == 1, 10, "the question whose answer is the verdict")
    supervisor.starts = 2
    seen = engine.look()
    assert (seen.starts, seen.failure is not None) == (2, True), "why it died is told"
    engine.replica = replace(engine.replica, starts=2)
    wait_for(lambda: not [one for one in threading.enumerate() if one.name == "sure-chat"], 20, "that answer")
    engine.behave(stuck=False)
    engine.there = 0
    assert engine.look() == Seen("running", starts=2)
    supervisor.starts, supervisor.rebooted = 3, True
    assert engine.look() == Seen("running", starts=3), "its host went down: that is no failure of the engine"
