"""Engine environments on a host over SSH: the same recipes, made the same way, by uv over there."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

from lyc.engines.versions import Recipe, recipe
from lyc.errors import Failed, from_document
from lyc.hosts.look.look import without_credentials
from lyc.hosts.making import Say, distribution, folder_name, make, uv_failed
from lyc.hosts.remote.calls import Agent
from lyc.hosts.remote.egress import Egress
from lyc.hosts.remote.places import Places, places
from lyc.hosts.uv_run import UvFailed, heard
from lyc.records.plan import EngineBuild

STATE_SECONDS, FILES_SECONDS = 60.0, 600.0
SEEN_SECONDS = 30.0
"""For so long an environment that was seen complete is taken to be: a deploy asks several times."""
CERTIFICATES = "lyc-certificates.pem"


class RemoteInstaller:
    """Implements `lyc.ports.EngineInstaller` for one host.

    agent, python: of the prepared host, its program and the version of its interpreter (`3.11`); both are asked anew
    for each call. reaches: URL → whether it answers from there. environ: of this machine, whose indexes and
    certificates uv there is told. egress: a way out for a host that has none; None = none is lent. host: its name.
    """

    def __init__(
        self,
        agent: Callable[[], Agent],
        python: Callable[[], str],
        reaches: Callable[[], Mapping[str, bool]],
        *,
        environ: Mapping[str, str],
        egress: Egress | None,
        host: str,
        recipes: Callable[[EngineBuild], Recipe] = recipe,
    ) -> None:
        self._agent = agent
        self._python = python
        self._reaches = reaches
        self._environ = environ
        self._egress = egress
        self._host = host
        self._recipes = recipes
        self._known: dict[str, frozenset[str]] = {}
        self._seen: dict[str, float] = {}

    def folder(self, build: EngineBuild) -> PurePosixPath:
        """Where the environment of a build lies on the host, whether it is there or not. No round trip."""
        return self._agent().root / "engines" / self._name(build)

    def bin_dir(self, build: EngineBuild) -> Path | None:
        """See the port. One round trip until it was seen complete, none after that: `install` looks again."""
        there = self._name(build) in self._known or self._look(build)["complete"]
        return Path(self.folder(build) / "bin") if there else None

    def distributions(self, build: EngineBuild) -> frozenset[str]:
        """See the port."""
        return self._known.get(self._name(build), frozenset()) if self.bin_dir(build) else frozenset()

    def install(self, build: EngineBuild, say: Say) -> Path:
        """See the port. Waits while another run makes the same environment; a killed one is begun again.

        Raises Failed `no-space-for-engine`, `engine-install-failed`, `environment-taken`, Unreachable
        `engine-download-failed`, `no-way-out-lent`, and what `Agent.call` raises.
        """
        name = self._name(build)
        if time.monotonic() - self._seen.get(name, -SEEN_SECONDS) >= SEEN_SECONDS:
            self._known.pop(name, None)
            if not self._look(build)["complete"]:
                self._install(build, say)
        return Path(self.folder(build) / "bin")

    def _name(self, build: EngineBuild) -> str:
        return folder_name(self._recipes(build), self._version())

    def _version(self) -> tuple[int, int]:
        major, _, minor = self._python().partition(".")
        return int(major), int(minor)

    def _look(self, build: EngineBuild) -> dict[str, Any]:
        name = self._name(build)
        seen = self._agent().call("environment", "state", request={"folder": name}, timeout=STATE_SECONDS)
        if seen["complete"]:
            self._known[name] = frozenset(map(distribution, seen["distributions"]))
            self._seen[name] = time.monotonic()
        return seen

    def _install(self, build: EngineBuild, say: Say) -> None:
        wanted = self._recipes(build)
        where = places(self._environ, Path(sys.prefix))
        closed = self._reaches().get(without_credentials(where.index)) is False
        with _held(self._agent(), self._name(build), say) as token:
            if self._look(build)["complete"]:
                return
            agent, name, version = self._agent(), self._name(build), self._version()

            def at(proxies: Mapping[str, str]) -> _There:
                return _There(
                    agent,
                    name,
                    version,
                    token,
                    variables=where.variables | dict(proxies),
                    bundle=where.bundle,
                    mend=f"lyc hosts prune {self._host}",
                )

            try:
                self._make(wanted, at, where, say, closed=closed)
            except UvFailed as failed:
                raise uv_failed(failed, wanted, at({})) from None
        self._look(build)

    def _make(
        self, wanted: Recipe, at: Callable[[Mapping[str, str]], _There], where: Places, say: Say, *, closed: bool
    ) -> None:
        """closed: the host is known not to reach the index. Raises UvFailed."""
        if not closed or self._egress is None:
            try:
                with self._way(where, lent=where.near) as proxies:
                    make(wanted, at(proxies), where.told, say)
                return
            except UvFailed as failed:
                if self._egress is None or not failed.no_network():
                    raise
        say("the host has no way to the packages: they come through this machine")
        with self._way(where, lent=True, all_of_it=True) as proxies:
            make(wanted, at(proxies), where.told, say)

    def _way(self, where: Places, *, lent: bool, all_of_it: bool = False) -> AbstractContextManager[Mapping[str, str]]:
        if not lent or self._egress is None:
            return nullcontext({})
        return self._egress.lent(where, all_of_it=all_of_it)


class _There:
    """Implements `lyc.hosts.making.Place`. name: of the folder. token: of the hold. variables: for uv, the way out that
    is lent among them. bundle: certificates of this machine to trust there.
    """

    def __init__(
        self,
        agent: Agent,
        name: str,
        version: tuple[int, int],
        token: str,
        *,
        variables: Mapping[str, str],
        bundle: Path | None,
        mend: str,
    ) -> None:
        self.folder = agent.root / "engines" / name
        self.version = version
        self.mend = mend
        self._agent = agent
        self._about = {"folder": name, "token": token}
        self._bundle = bundle
        self._variables = dict(variables)

    @property
    def python(self) -> str:
        return str(self._state()["python"])

    def uv(self, *arguments: str, say: Say | None = None) -> list[str]:
        lines: list[str] = []

        def said(document: dict[str, Any]) -> None:
            lines.append(heard(str(document.get("text", "")), say))

        request = self._about | {"arguments": arguments, "env": self._variables}
        code = self._agent.follow("uv", request=request, said=said)["code"]
        if code != 0:
            raise UvFailed(code, lines)
        return lines

    def clear(self) -> bool:
        return bool(self._act("clear")["was"])

    def write(self, files: Mapping[str, str]) -> None:
        if self._bundle is not None and "SSL_CERT_FILE" not in self._variables:
            files = {**files, CERTIFICATES: self._bundle.read_text(encoding="utf-8", errors="replace")}
            self._variables["SSL_CERT_FILE"] = str(self.folder / CERTIFICATES)
        self._act("write", files=dict(files))

    def mark(self) -> None:
        self._act("mark")

    def free(self) -> int:
        return int(self._state()["free"])

    def _state(self) -> dict[str, Any]:
        return self._agent.call("environment", "state", request=self._about, timeout=STATE_SECONDS)

    def _act(self, action: str, **more: object) -> dict[str, Any]:
        return self._agent.call("environment", action, request=self._about | more, timeout=FILES_SECONDS)


@contextmanager
def _held(agent: Agent, name: str, say: Say) -> Iterator[str]:
    """The right to change an environment, until this ends, or the connection. Gives the token of it."""
    request = json.dumps({"folder": name}).encode()
    lines = agent.remote.stream(agent.argv("environment", "hold"), stdin=request)
    with contextlib.closing(lines):  # type: ignore[type-var]
        for line in lines:
            document = json.loads(line)
            if document.get("t") == "held":
                yield str(document["token"])
                return
            if "error" in document:
                raise from_document(document["error"])
            say("another run is installing this engine; waiting for it")
    raise Failed(
        "agent-failed", "lyc's program on the host broke off at 'environment hold'", hint="lyc controller logs"
    )
