"""Machines over SSH, as the controller asks for them: `lyc.ports.HostAccess` on OpenSSH."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lyc.errors import Failed
from lyc.hosts.look import look
from lyc.hosts.ssh import known
from lyc.hosts.ssh.key import own_key
from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.scan import scan
from lyc.hosts.ssh.target import Target, effective, insisted
from lyc.records.host import Host, RemoteFacts


class SshAccess:
    """Implements `lyc.ports.HostAccess`.

    known_hosts: lyc's own file of pinned keys. run_dir: for the sockets of shared connections. config: instead of
    `~/.ssh/config`; None = that. index, hub: addresses that a host is asked to reach.
    """

    def __init__(
        self,
        known_hosts: Path,
        run_dir: Path,
        config: Path | None,
        *,
        index: str,
        hub: str,
        clock: Callable[[], float],
    ) -> None:
        self._known_hosts = known_hosts
        self._run_dir = run_dir
        self._config = config
        self._index = index
        self._hub = hub
        self._clock = clock

    def shown(self, host: Host) -> tuple[str, ...]:
        """See the port."""
        return tuple(key.fingerprint for key in scan(self.target(host)))

    def trusted(self, host: Host) -> tuple[str, ...]:
        """See the port."""
        return tuple(dict.fromkeys(key.fingerprint for key in known.accepted(self.target(host))))

    def pin(self, host: Host, fingerprints: Sequence[str]) -> None:
        """See the port. Raises Failed `host-key-changed` when it shows none of them any more."""
        target = self.target(host)
        keys = [key for key in scan(target) if key.fingerprint in fingerprints]
        if not keys:
            raise Failed(
                "host-key-changed",
                f"{host.name} has shown another key than a moment ago",
                why="somebody may be between you and it",
                where=target.shown,
            )
        SshRemote(target).close()  # made with another key
        known.pin(target, keys)

    def own_key(self) -> tuple[Path, str]:
        """See the port."""
        return own_key(self._known_hosts.with_name("ssh"))

    def forget(self, host: Host) -> None:
        """See the port."""
        target = self.target(host)
        SshRemote(target).close()
        known.forget(target)

    def look(self, host: Host, hub: str | None = None, *, reach: bool = True) -> RemoteFacts:
        """See the port."""
        urls = (self._index, hub or self._hub) if reach else ()
        return look(SshRemote(self.target(host)), urls, self._clock)

    def argv(self, host: Host, command: Sequence[str], *, terminal: bool) -> list[str]:
        """`ssh` for a person: it trusts the pinned keys and those that the user's own OpenSSH knows.

        terminal: give the command one too, so that sudo can ask for a password.
        """
        target = self.target(host)
        wanted = {"StrictHostKeyChecking", "UserKnownHostsFile"}
        words = insisted(target, effective(target))
        kept = [word for word in words[1::2] if word.partition("=")[0] in wanted]
        more = ("-t",) if terminal and command else ()
        return [*target.argv(*more, *(part for word in kept for part in ("-o", word))), *command]

    def target(self, host: Host) -> Target:
        identity = Path(host.identity) if host.identity else None
        return Target(host.address, host.port, self._known_hosts, self._run_dir, self._config, identity, host.key_alias)
