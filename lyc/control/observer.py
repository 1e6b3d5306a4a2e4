"""Looks at replicas: process, log, health route, one real completion. Turns what it sees into `rollout.Seen`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lyc.control.deps import Deps
from lyc.control.layout import attempt_directory, engine_key
from lyc.engines import reported, vllm
from lyc.engines.diagnosis import diagnose
from lyc.engines.load import load
from lyc.engines.progress import progress
from lyc.engines.pulse import Pulse
from lyc.errors import EngineFailed, NotFound
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.engine import EngineLoad, EngineProgress, Reported
from lyc.rollout import Seen

HEALTH_SECONDS = 2.0
PROBE_SECONDS = 300.0
PULSE_SECONDS = 2.0
SURE_SECONDS = 60.0
"""For one short completion among those that run."""
DIAGNOSED_LINES = 400
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z ")
_TRANSIENT = frozenset({408, 429, 502, 503, 504})


@dataclass(slots=True)
class _Memory:
    """What one attempt of one replica has shown so far."""

    attempt: int
    offset: int = 0
    rest: bytes = b""
    lines: list[str] = field(default_factory=list)
    loading: bool = False
    progress: EngineProgress | None = None
    reported: Reported = field(default_factory=Reported)
    felt: float = -PULSE_SECONDS
    pulse: Pulse | None = None
    load: EngineLoad | None = None
    asked: threading.Thread | None = None
    failure: EngineFailed | None = None


class Observer:
    """Remembers how far each log was read, and how each engine moved. One per deployment, used by one thread; others
    may read `progress` and `load`.

    in_flight: requests at a replica as the gateway said last. passing: those that pass through the activator, of which
    the gateway does not know the replica. pulse_clock: seconds, of a clock that is never set. sure:
    seconds that an engine which seems to hang gets to prove that it does not.
    """

    def __init__(
        self,
        deps: Deps,
        name: str,
        in_flight: Callable[[str], int | None] = lambda _: None,
        passing: Callable[[], Mapping[str, int]] = dict,
        *,
        pulse_clock: Callable[[], float] = time.monotonic,
        sure: float = SURE_SECONDS,
    ) -> None:
        self._sure = sure
        self._deps = deps
        self._name = name
        self._active = in_flight
        self._passing = passing
        self._pulse_clock = pulse_clock
        self._memory: dict[str, _Memory] = {}
        self._clients: dict[str, Any] = {}

    def progress(self, replica: str) -> EngineProgress | None:
        memory = self._memory.get(replica)
        return memory.progress if memory else None

    def load(self, replica: str) -> EngineLoad | None:
        """What a ready engine said of its load last; None where it did not answer."""
        memory = self._memory.get(replica)
        return memory.load if memory else None

    def look(self, replica: Replica, task: str) -> Seen:
        """One look, milliseconds long; in PROBING as long as the first answer takes. task: of the replica's plan."""
        directory = attempt_directory(self._deps.settings, replica)
        try:
            status = self._deps.sites.site(replica.host).supervisor.status(directory)
        except NotFound:  # given back, or taken away: what ran there has ended with it
            return Seen("exited", failure=_host_gone(replica.host).document(), gave_up=True)
        memory = self._memory.get(replica.id)
        if memory is None or memory.attempt != replica.attempts:
            memory = self._memory[replica.id] = _Memory(replica.attempts)
        if replica.state in (ReplicaState.STOPPED, ReplicaState.FAILED):
            return Seen(status.state)
        self._read_log(memory, directory / "output.log")
        if status.state == "unknown":
            return Seen("unknown", failure=status.error)
        if status.state == "absent":
            return Seen("absent")
        if status.state == "exited":
            failure = self._diagnosed(memory, status.exit_code)
            return Seen("exited", failure=failure, starts=status.starts, gave_up=status.crash_loop)
        if status.starts > replica.starts:
            memory.loading, memory.progress = False, None
            failure = self._diagnosed(memory, None)
            return Seen("running", failure=failure, starts=status.starts)
        return self._look_closer(memory, replica, task)

    def _diagnosed(self, memory: _Memory, exit_code: int | None) -> dict[str, object]:
        error = diagnose(memory.lines[-DIAGNOSED_LINES:], exit_code)
        error.hint = error.hint.replace("lyc logs NAME", f"lyc logs {self._name}")
        return error.document()

    def _look_closer(self, memory: _Memory, replica: Replica, task: str) -> Seen:
        """At one that runs."""
        if replica.state in (ReplicaState.STARTING, ReplicaState.LOADING):
            return Seen("running", starts=replica.starts, loading=memory.loading, listening=self._healthy(replica))
        if replica.state is ReplicaState.PROBING:
            return self._probe(replica, task)
        if replica.state is ReplicaState.DRAINING:
            return Seen("running", starts=replica.starts, in_flight=self._in_flight(replica))
        if replica.state is ReplicaState.READY:
            failure = self._feel(memory, replica, task)
            return Seen("running", starts=replica.starts, failure=None if failure is None else failure.document())
        return Seen("running", starts=replica.starts)

    def _feel(self, memory: _Memory, replica: Replica, task: str) -> EngineFailed | None:
        """The pulse of one that serves: why it must be started anew, if it must."""
        now = self._pulse_clock()
        if now - memory.felt < PULSE_SECONDS:
            return memory.failure
        memory.felt = now
        memory.load = self._loaded(replica)
        memory.pulse = (memory.pulse or Pulse(now)).beat(memory.load, self._active(replica.id), now)
        if memory.pulse.silent(now):
            memory.failure = self._stuck("engine-silent", "the engine runs, but its server answers nothing any more")
        elif memory.pulse.stalled(now) and memory.asked is None:
            memory.asked = threading.Thread(target=self._make_sure, args=(memory, replica, task), daemon=True)
            memory.asked.start()
        return memory.failure

    def _make_sure(self, memory: _Memory, replica: Replica, task: str) -> None:
        import httpx  # noqa: PLC0415

        path, body = vllm.probe_request(replica.deployment, task)
        try:
            answered = self._client(replica).post(path, json=body, timeout=self._sure).status_code < 500
        except httpx.HTTPError:
            answered = False
        if answered:
            now = self._pulse_clock()
            memory.pulse = Pulse(now, memory.pulse.tokens if memory.pulse else 0)
            memory.asked = None
        else:
            memory.failure = self._stuck("engine-hung", "the engine takes requests and answers none")

    def _stuck(self, ref: str, what: str) -> EngineFailed:
        return EngineFailed(ref, what, why="it is started anew", hint=f"lyc logs {self._name}")

    def _loaded(self, replica: Replica) -> EngineLoad | None:
        import httpx  # noqa: PLC0415

        try:
            answer = self._client(replica).get(vllm.METRICS_PATH, timeout=HEALTH_SECONDS)
        except httpx.HTTPError:
            return None
        return load(answer.text) if answer.status_code == 200 else None

    def reported(self, replica: Replica) -> Reported:
        """What a ready replica's engine said of its memory."""
        import httpx  # noqa: PLC0415

        memory = self._memory.get(replica.id)
        said = memory.reported if memory else Reported()
        try:
            answer = self._client(replica).get(vllm.METRICS_PATH, timeout=HEALTH_SECONDS)
        except httpx.HTTPError:
            return said
        return replace(said, kv_blocks=reported.blocks(answer.text) if answer.status_code == 200 else None)

    def forget(self, replica: str) -> None:
        self._memory.pop(replica, None)
        client = self._clients.pop(replica, None)
        if client is not None:
            client.close()

    def _read_log(self, memory: _Memory, path: Path) -> None:
        try:
            with path.open("rb") as file:
                if path.stat().st_size < memory.offset:  # rotated
                    memory.offset = 0
                file.seek(memory.offset)
                data = file.read()
        except OSError:
            return
        memory.offset += len(data)
        *lines, memory.rest = (memory.rest + data).split(b"\n")
        for raw in lines:
            line = _STAMP.sub("", raw.decode(errors="replace"))
            memory.lines.append(line)
            memory.reported = reported.heard(memory.reported, line)
            found = progress(line)
            if found is not None:
                memory.progress = found
                memory.loading = memory.loading or found.stage != "import"
        del memory.lines[: -2 * DIAGNOSED_LINES]

    def _client(self, replica: Replica) -> Any:
        import httpx  # noqa: PLC0415 - 0.15 s that the controller's start need not wait for

        if replica.id not in self._clients:
            self._clients[replica.id] = httpx.Client(
                transport=httpx.HTTPTransport(uds=replica.socket),
                base_url="http://engine",
                headers={"authorization": f"Bearer {engine_key(self._deps.settings, self._name).reveal()}"},
            )
        return self._clients[replica.id]

    def _healthy(self, replica: Replica) -> bool:
        import httpx  # noqa: PLC0415

        if not Path(replica.socket).exists():
            return False
        try:
            return bool(self._client(replica).get(vllm.HEALTH_PATH, timeout=HEALTH_SECONDS).status_code == 200)
        except httpx.HTTPError:
            return False

    def _probe(self, replica: Replica, task: str) -> Seen:
        """One real completion: a healthy server can still die on its first request (a head size its kernels lack)."""
        import httpx  # noqa: PLC0415

        path, body = vllm.probe_request(replica.deployment, task)
        try:
            answer = self._client(replica).post(path, json=body, timeout=PROBE_SECONDS)
        except httpx.HTTPError:
            return Seen("running", starts=replica.starts)  # the next look sees whether the engine has died
        if answer.status_code == 200:
            return Seen("running", starts=replica.starts, proven=True)
        if answer.status_code in _TRANSIENT:
            return Seen("running", starts=replica.starts)
        failure = EngineFailed(
            "engine-probe-failed",
            f"the engine started but refused its first request (HTTP {answer.status_code})",
            why=answer.text[:500],
            hint=f"lyc logs {self._name}",
        )
        return Seen("running", starts=replica.starts, failure=failure.document())

    def _in_flight(self, replica: Replica) -> int | None:
        status = self._deps.gateway.status()
        if status.state in ("absent", "stopped"):
            return 0
        if status.active is None:
            return None
        return status.active.get(replica.id, 0) + self._passing().get(replica.id, 0)


def _host_gone(host: str) -> EngineFailed:
    return EngineFailed(
        "host-gone", f"the machine {host} is gone", why="its provider has no such machine any more", hint="lyc cost"
    )
