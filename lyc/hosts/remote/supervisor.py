"""Processes on a host, as the controller sees them: `lyc.ports.Supervisor` for another machine.

What is true there comes by one watching thread and is kept in memory, so that asking costs nothing and a host that
hangs holds nobody up. Acts go over the network, each on its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.remote.calls import CALL_SECONDS, Agent
from lyc.hosts.remote.heard import Heard
from lyc.hosts.remote.mirror import Mirrors, identity_of
from lyc.hosts.remote.tunnels import Tunnels, check_path
from lyc.hosts.remote.watching import Pace, Watch
from lyc.records.process import ProcessSpec, ProcessStatus

STOP_MARGIN_SECONDS = 30.0
STRAY_GRACE_SECONDS = 5.0
TUNNEL_SECONDS = 1.0
"""A tunnel that is down for longer is no blip."""
PACE = Pace()


class RemoteSupervisor:
    """Implements `lyc.ports.Supervisor` for one host.

    agent: of the host; raises Unreachable and the like, and is asked for each call. owner: id of this home, whose
    processes alone are seen. home: folder below which all private folders of processes here lie, as
    `<replica>/<attempt>`. wake: called when a status changed. name: of the host, for errors. clock: seconds, monotonic.
    """

    def __init__(
        self,
        agent: Callable[[], Agent],
        owner: str,
        home: Path,
        tunnels: Tunnels,
        *,
        wake: Callable[[], None] = lambda: None,
        name: str = "the host",
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = agent
        self._owner = owner
        self._tunnels = tunnels
        self._wake = wake
        self._name = name
        self._clock = clock
        self._watch = Watch(agent, owner, self, pace)
        self._heard = Heard(pace.silence)
        self._mirrors = Mirrors(home)
        self._error: LycError | None = None
        self._asked_at: float | None = None
        self._patience = pace.silence

    # -- what the controller asks for

    def start(self, spec: ProcessSpec) -> None:
        """See the port. Raises what the agent refuses with, Failed `socket-path-too-long`, and Unreachable: then it may
        run or not.
        """
        if spec.socket is not None:
            check_path(spec.socket)
        identity = identity_of(spec.directory)
        spec.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._mirrors.made(identity, spec.directory)
        answer = self._call("start", request=self._request(identity, spec))
        self._heard.started(identity, answer.get("port"), spec.socket, self._clock())
        self._tend_tunnels()
        self.listen()

    def status(self, directory: Path) -> ProcessStatus:
        """See the port. `unknown` too while the tunnel to a running process is down. Costs microseconds."""
        self._watch.start()
        identity, now = identity_of(directory), self._clock()
        status = self._heard.status(identity, now)
        if status is None:
            return ProcessStatus("unknown", error=None if self._begins(now) else self._silent().document())
        if status.state == "running" and self._tunnels.down(identity) > TUNNEL_SECONDS:
            why = str(self._error or "it is being made again")
            error = Unreachable("tunnel-down", f"the tunnel to the engine on {self._name} is down", why=why)
            return ProcessStatus("unknown", status.pid, starts=status.starts, error=error.document())
        return status

    def stop(self, directory: Path, *, grace: float) -> None:
        """See the port. Raises Unreachable when the host cannot be asked."""
        identity = identity_of(directory)
        self._call("stop", identity, "--grace", f"{grace:g}", timeout=grace + STOP_MARGIN_SECONDS)
        self._tunnels.drop(identity)
        self._heard.stopped(identity, self._clock())
        self._watch.soon()

    def forget(self, directory: Path) -> None:
        """See the port. The tunnel goes also where the host cannot be asked."""
        identity = identity_of(directory)
        self._tunnels.drop(identity)
        self._call("remove", identity)
        self._heard.removed(identity)

    def stray(self, known: Sequence[Path]) -> list[int]:  # noqa: ARG002 - pids of another machine say nothing here
        """See the port: none; `sweep` does it."""
        return []

    def reap(self, pids: Sequence[int]) -> None:
        """See the port: there are none."""

    def sweep(self, known: Callable[[], Sequence[Path]]) -> list[str]:
        """Stop and remove what runs on the host for this owner but belongs to none of `known`, with its tunnels.

        Returns the ids. `known` is asked after the host was. Ended attempts of a known replica stay, for their logs.
        """
        listed = self._call("list", self._owner)["processes"]
        here = self._tunnels.here()
        folders = known()
        ours = {identity_of(folder) for folder in folders}
        replicas = {folder.parent.name for folder in folders}
        ended = {one["id"] for one in listed if one["state"] == "exited" and one["gave_up"]}
        strays = [
            identity
            for identity in (str(one["id"]) for one in listed)
            if identity not in ours and (identity not in ended or _replica(identity) not in replicas)
        ]
        for identity in strays:
            self._call("stop", identity, "--grace", f"{STRAY_GRACE_SECONDS:g}", timeout=CALL_SECONDS)
        if strays:
            self._call("remove", *strays)
        for identity in here:
            if identity not in ours:
                self._tunnels.drop(identity)
        return strays

    def listen(self) -> None:
        """Watch, and do not wait out a pause: the host is known to answer."""
        self._watch.start()
        self._watch.soon()

    def leave(self) -> None:
        """The host is this home's no longer: watch no more, and leave no tunnel to it."""
        self.close()
        for identity in self._tunnels.here():
            self._tunnels.drop(identity)

    def close(self) -> None:
        """Watch no more. What runs goes on, and so do the tunnels."""
        self._watch.close()
        self._tunnels.close()

    # -- what the watching thread tells

    def marks(self) -> Mapping[str, str]:
        """See `lyc.hosts.remote.watching.Listener`."""
        self._heard.connected()
        return self._mirrors.marks()

    def hear(self, document: dict[str, Any]) -> None:
        """See `lyc.hosts.remote.watching.Listener`."""
        match document.get("t"):
            case "status":
                self._hear_list(document["processes"])
            case "log":
                lines = [(float(at), str(text)) for at, text in document["lines"]]
                self._mirrors.keep(str(document["id"]), lines, str(document["mark"]))
        self._heard.word(self._clock())

    def lost(self, error: LycError) -> None:
        """See `lyc.hosts.remote.watching.Listener`."""
        self._error = error

    def _hear_list(self, listed: Sequence[Mapping[str, Any]]) -> None:
        first, changed = self._heard.listed(listed, self._clock())
        self._error = None
        if first or changed:
            self._wake()
        self._tend_tunnels()
        if first:
            self._tunnels.mend()

    # -- within

    def _tend_tunnels(self) -> None:
        """What runs has its tunnel: of attempts that share a socket, the last. What will not run again has none."""
        wanted: dict[Path, str] = {}
        known = self._heard.all()
        for identity in sorted(known, key=_attempt):
            one = known[identity]
            if one.socket is not None and one.port is not None and one.status.state == "running":
                wanted[one.socket] = identity
            elif one.status.gave_up:
                self._tunnels.drop(identity)
        for socket, identity in wanted.items():
            self._tunnels.ensure(identity, socket, known[identity].port or 0)

    def _request(self, identity: str, spec: ProcessSpec) -> dict[str, Any]:
        folder = self._agent().root / "replicas" / identity
        return {
            "id": identity,
            "owner": self._owner,
            "socket": str(spec.socket) if spec.socket else None,
            "argv": list(spec.argv),
            "env": dict(spec.env),
            "files": {str(path.relative_to(folder)): text.reveal() for path, text in spec.files.items()},
            "devices": None if spec.devices is None else list(spec.devices),
            "image": spec.image,
        }

    def _call(self, command: str, *arguments: str, **more: Any) -> dict[str, Any]:
        """As `Agent.call`; that time ran out says as little as that the link was lost."""
        try:
            return self._agent().call(command, *arguments, **more)
        except Failed as error:
            if error.ref != "remote-timeout":
                raise
            raise Unreachable("host-unreachable", error.what, where=error.where) from error

    def _begins(self, now: float) -> bool:
        """Whether the first word of the host may still be on its way, or the preparing that comes before it."""
        self._asked_at = now if self._asked_at is None else self._asked_at
        hopeful = self._error is None or self._error.ref == "host-not-prepared"
        return hopeful and self._heard.age(now) is None and now - self._asked_at < self._patience

    def _silent(self) -> LycError:
        if self._error is not None:
            return self._error
        age = self._heard.age(self._clock())
        what = "has not been heard yet" if age is None else f"has said nothing for {age:.0f} s"
        return Unreachable("host-unreachable", f"{self._name} {what}")


def _replica(identity: str) -> str:
    return identity.rpartition(".")[0]


def _attempt(identity: str) -> int:
    text = identity.rpartition(".")[2]
    return int(text) if text.isdecimal() else 0
