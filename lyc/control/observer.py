"""Looks at replicas: process, log, health route, one real completion. Turns what it sees into `rollout.Seen`."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from lyc.control.deps import Deps
from lyc.control.dozing import Call, sleeping
from lyc.control.layout import attempt_directory, engine_key
from lyc.control.probing import Probe
from lyc.engines import reported, vllm
from lyc.engines.coming import MUTE_SECONDS, UNANSWERED_SECONDS, Coming
from lyc.engines.diagnosis import diagnose
from lyc.engines.load import load
from lyc.engines.progress import progress
from lyc.engines.pulse import Pulse
from lyc.errors import EngineFailed, NotFound, Unreachable
from lyc.records.deployment import Replica, ReplicaState
from lyc.records.engine import EngineLoad, EngineProgress, Reported
from lyc.records.host import LOCAL
from lyc.records.process import ProcessStatus
from lyc.rollout import Seen

HEALTH_SECONDS = 2.0
PULSE_SECONDS = 2.0
REST_SECONDS = 60.0
"""Where nobody has asked it anything since it said that it had nothing to do: thousands of engines that rest are to be
no load. That it is well the gateway asks once a second.
"""
SURE_SECONDS = 60.0
"""For one short completion among those that run."""
DIAGNOSED_LINES = 400
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z ")


@dataclass(slots=True)
class _Memory:
    """What one start of one attempt of one replica has shown so far; of its log, all starts of the attempt."""

    attempt: int
    starts: int
    coming: Coming
    state: ReplicaState
    offset: int = 0
    rest: bytes = b""
    lines: list[str] = field(default_factory=list)
    loading: bool = False
    progress: EngineProgress | None = None
    reported: Reported = field(default_factory=Reported)
    felt: float = -REST_SECONDS
    sent: int | None = None
    pulse: Pulse | None = None
    load: EngineLoad | None = None
    asked: threading.Thread | None = None
    probe: Probe | None = None
    call: Call | None = None
    sleeping: bool | None = None
    failure: EngineFailed | None = None

    def restarted(self, starts: int, now: float) -> _Memory:
        """Of the next start. Whoever still asks the former one writes into what is forgotten."""
        return _Memory(
            self.attempt, starts, Coming(now), self.state,
            offset=self.offset, rest=self.rest, lines=self.lines, reported=self.reported,
        )  # fmt: skip


class Observer:
    """Remembers how far each log was read, and how each engine moved. One per deployment, used by one thread; others
    may read `progress` and `load`.

    in_flight: requests at a replica as the gateway said last. passing: those that pass through the activator, of which
    the gateway does not know the replica. sent: requests that the gateway has ever sent to a replica. pulse_clock:
    seconds, of a clock that is never set. sure: seconds that an engine which seems to hang gets to prove that it does
    not. answered: called, by any thread, when a first completion came back.
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
        sent: Callable[[str], int | None] = lambda _: None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._sure = sure
        self._sent = sent
        self._answered = answered
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

    def sleeping(self, replica: str) -> bool:
        """Whether it said so when it was asked last."""
        memory = self._memory.get(replica)
        return memory is not None and memory.sleeping is True

    def look(self, replica: Replica, task: str) -> Seen:
        """One look, milliseconds long: what takes longer is asked beside it. task: of the replica's plan."""
        directory = attempt_directory(self._deps.settings, replica)
        try:
            status = self._deps.sites.site(replica.host).supervisor.status(directory)
        except NotFound:  # given back, or taken away: what ran there has ended with it
            return Seen("exited", failure=_host_gone(replica.host).document(), gave_up=True)
        memory = self._remembered(replica, status)
        if replica.state in (ReplicaState.STOPPED, ReplicaState.FAILED):
            return Seen(status.state)
        self._read_log(memory, directory / "output.log")
        if status.state == "unknown":
            memory.coming.begun(self._pulse_clock())
            return Seen("unknown", failure=status.error)
        if status.state == "absent":
            return Seen("absent")
        if status.state == "exited":
            return self._ended(memory, replica, status)
        if status.starts > replica.starts:
            failure = None if status.rebooted else self._diagnosed(memory, None)
            return Seen("running", failure=failure, starts=status.starts)
        return self._look_closer(memory, replica, task)

    def _remembered(self, replica: Replica, status: ProcessStatus) -> _Memory:
        """What is known of this start; in another state it has the whole time again to get on."""
        memory, now = self._memory.get(replica.id), self._pulse_clock()
        if memory is None or memory.attempt != replica.attempts:
            memory = _Memory(replica.attempts, status.starts, Coming(now), replica.state)
        elif status.state == "running" and status.starts > memory.starts:
            memory = memory.restarted(status.starts, now)
        if memory.state is not replica.state:
            memory.state, memory.probe, memory.sleeping = replica.state, None, None
            memory.coming.begun(now)
        self._memory[replica.id] = memory
        return memory

    def _ended(self, memory: _Memory, replica: Replica, status: ProcessStatus) -> Seen:
        if not status.rebooted:
            failure = self._diagnosed(memory, status.exit_code)
            return Seen("exited", failure=failure, starts=status.starts, gave_up=status.crash_loop)
        why = f"{replica.host} went down, and the engine with it"
        if status.gave_up or replica.host == LOCAL:
            error = EngineFailed("host-rebooted", why, why="it is started again", hint=f"lyc logs {self._name}")
            return Seen("exited", failure=error.document(), starts=status.starts, rebooted=True)
        hint = f"lyc hosts check {replica.host}"  # it starts the engine by itself, as soon as it is back
        return Seen("unknown", failure=Unreachable("host-rebooting", why, hint=hint).document())

    def _diagnosed(self, memory: _Memory, exit_code: int | None) -> dict[str, object]:
        error = diagnose(memory.lines[-DIAGNOSED_LINES:], exit_code)
        error.hint = error.hint.replace("lyc logs NAME", f"lyc logs {self._name}")
        return error.document()

    def _look_closer(self, memory: _Memory, replica: Replica, task: str) -> Seen:
        """At one that runs."""
        if replica.state in (ReplicaState.STARTING, ReplicaState.LOADING):
            return self._look_at_start(memory, replica)
        if replica.state is ReplicaState.ASLEEP:
            return Seen("running", starts=replica.starts, sleeping=self._asleep(memory, replica))
        if replica.state is ReplicaState.PROBING and replica.sleeps and memory.probe is None:
            sleeping = self._asleep(memory, replica)
            if sleeping is not False:
                return Seen("running", starts=replica.starts, sleeping=sleeping, failure=self._overdue(memory))
        if replica.state is ReplicaState.PROBING:
            return self._look_at_probe(memory, replica, task)
        if replica.state is ReplicaState.DRAINING:
            return Seen("running", starts=replica.starts, in_flight=self._in_flight(replica))
        if replica.state is ReplicaState.READY:
            failure = self._feel(memory, replica, task)
            return Seen("running", starts=replica.starts, failure=None if failure is None else failure.document())
        return Seen("running", starts=replica.starts)

    def _look_at_start(self, memory: _Memory, replica: Replica) -> Seen:
        listening = self._healthy(replica)
        failure = None
        if not listening and memory.coming.mute(self._pulse_clock()):
            last = memory.progress.message if memory.progress else "nothing of its model yet"
            failure = self._stuck(
                "engine-mute",
                f"the engine starts, but has said nothing new for {MUTE_SECONDS / 60:.0f} min",
                f"the last of it: {last}",
            ).document()
        return Seen("running", starts=replica.starts, loading=memory.loading, listening=listening, failure=failure)

    def _look_at_probe(self, memory: _Memory, replica: Replica, task: str) -> Seen:
        """One real completion. It is asked for until it comes, is refused, or has taken too long."""
        if memory.probe is None or (memory.probe.over() and not memory.probe.settled):
            memory.probe = Probe(self._client(replica), replica.deployment, task, self._answered).start()
        probe = memory.probe
        if probe.over():
            failure = None if probe.failure is None else probe.failure.document()
            return Seen("running", starts=replica.starts, proven=probe.proven, failure=failure)
        return Seen("running", starts=replica.starts, failure=self._overdue(memory))

    def _overdue(self, memory: _Memory) -> dict[str, object] | None:
        """Of one that owes its first answer."""
        if not memory.coming.unanswered(self._pulse_clock()):
            return None
        return self._stuck(
            "engine-unproven",
            f"the engine says that it is well, but owes its first answer for {UNANSWERED_SECONDS / 60:.0f} min",
            "it was asked for two tokens",
        ).document()

    def _asleep(self, memory: _Memory, replica: Replica) -> bool | None:
        """What it says of itself; it is not asked while it is told to sleep or to wake."""
        if memory.call is not None and not memory.call.over():
            return None
        now = self._pulse_clock()
        if memory.sleeping is None or replica.state is ReplicaState.PROBING or now - memory.felt >= PULSE_SECONDS:
            memory.felt = now
            memory.sleeping = sleeping(self._client(replica), HEALTH_SECONDS)
        return memory.sleeping

    def tell(self, replica: Replica, path: str) -> None:
        """Let an engine sleep or wake, unless it is being told already. Returns at once."""
        memory = self._memory.get(replica.id)
        if memory is not None and (memory.call is None or memory.call.over()):
            memory.sleeping = None
            memory.call = Call(self._client(replica), path, self._answered)

    def _feel(self, memory: _Memory, replica: Replica, task: str) -> EngineFailed | None:
        """The pulse of one that serves: why it must be started anew, if it must."""
        now, active, sent = self._pulse_clock(), self._active(replica.id), self._sent(replica.id)
        said = memory.load
        rests = said is not None and said.running + said.waiting == 0 and active == 0 and sent == memory.sent
        rests = rests and (memory.pulse is None or memory.pulse.barren_since is None)  # it has something to answer for
        if now - memory.felt < (REST_SECONDS if rests else PULSE_SECONDS):
            return memory.failure
        memory.felt, memory.sent = now, sent
        memory.load = self._loaded(replica)
        pulse = (memory.pulse or Pulse(now)).beat(memory.load, active, now, sent)
        memory.pulse = pulse
        if pulse.silent(now):
            memory.failure = self._stuck("engine-silent", "the engine runs, but its server answers nothing any more")
        elif (pulse.stalled(now) or pulse.barren(now)) and memory.asked is None:
            arguments = (memory, replica, task, pulse.stalled(now))
            memory.asked = threading.Thread(
                target=self._make_sure, args=arguments, name=f"sure-{self._name}", daemon=True
            )
            memory.asked.start()
        return memory.failure

    def _make_sure(self, memory: _Memory, replica: Replica, task: str, stalled: bool) -> None:
        """Ask it for a completion. stalled: it seemed to hang, so that no answer is an answer too."""
        import httpx  # noqa: PLC0415

        path, body = vllm.probe_request(replica.deployment, task)
        try:
            status = self._client(replica).post(path, json=body, timeout=self._sure).status_code
        except (httpx.HTTPError, RuntimeError):  # of a client that was closed meanwhile
            status = None
        if status is None and stalled:
            memory.failure = self._stuck("engine-hung", "the engine takes requests and answers none")
        elif status is not None and status >= 500:
            what = f"the engine says that it is well, but refuses every request (HTTP {status})"
            memory.failure = self._stuck("engine-refuses", what)
        else:
            now = self._pulse_clock()
            memory.pulse = Pulse(now, memory.pulse.tokens if memory.pulse else 0)
            memory.asked = None

    def _stuck(self, ref: str, what: str, why: str = "it is started anew") -> EngineFailed:
        return EngineFailed(ref, what, why=why, hint=f"lyc logs {self._name}")

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
        heard = []
        for raw in lines:
            line = _STAMP.sub("", raw.decode(errors="replace"))
            heard.append(line)
            memory.reported = reported.heard(memory.reported, line)
            found = progress(line)
            if found is not None:
                memory.progress = found
                memory.loading = memory.loading or found.stage != "import"
        memory.coming.heard(heard, self._pulse_clock())
        memory.lines += heard
        del memory.lines[: -2 * DIAGNOSED_LINES]

    def _client(self, replica: Replica) -> Any:
        import httpx  # noqa: PLC0415 - 0.15 s that the controller's start need not wait for

        if replica.id not in self._clients:
            self._clients[replica.id] = httpx.Client(
                transport=httpx.HTTPTransport(uds=replica.socket, verify=_no_tls()),
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

    def _in_flight(self, replica: Replica) -> int | None:
        status = self._deps.gateway.status()
        if status.state in ("absent", "stopped"):
            return 0
        if status.active is None:
            return None
        return status.active.get(replica.id, 0) + self._passing().get(replica.id, 0)


@cache
def _no_tls() -> ssl.SSLContext:
    """Of a socket that speaks plain HTTP: by default each client would read all certificates there are (20 ms)."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _host_gone(host: str) -> EngineFailed:
    return EngineFailed(
        "host-gone", f"the machine {host} is gone", why="its provider has no such machine any more", hint="lyc cost"
    )
