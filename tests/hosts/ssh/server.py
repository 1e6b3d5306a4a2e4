"""A real sshd on 127.0.0.1, and the `~/.ssh` of somebody who may use it. Works without root, for the own account."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lyc.hosts.ssh.remote import SshRemote
from lyc.hosts.ssh.target import Target

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def awaited(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Waits until the condition holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


def keygen(path: Path, *more: str, kind: str = "ed25519") -> Path:
    """A fresh key pair without a passphrase; replaces an older one."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", path, *more], check=True)
    return path


def fingerprint(public: Path) -> str:
    """As `ssh-keygen -l` says it."""
    return subprocess.run(
        ["ssh-keygen", "-l", "-f", public], check=True, capture_output=True, text=True
    ).stdout.split()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Server:
    """One sshd with its own host key, in a folder of its own. Listens on 127.0.0.1 only."""

    def __init__(self, folder: Path, authorized: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self.host_key = keygen(folder / "host_key")
        self.more = ""
        (folder / "authorized_keys").write_text(authorized)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listens when it returns."""
        assert SSHD, "sshd is not installed"
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd_config").write_text(
            f"{self.more}\nListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nAcceptEnv none\n"
            "Subsystem sftp internal-sftp\n"
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        awaited(self._listens, 10, f"sshd listens; {(self.folder / 'log').read_text()}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, *, connections: bool = False) -> None:
        """No new connections; with `connections` the ones that are there end too."""
        if self._process:
            children = sessions_of(self._process.pid) if connections else []
            self._process.terminate()
            self._process.wait()
            self._process = None
            for pid in children:
                kill(pid)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.host_key.with_suffix(".pub"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def sessions_of(pid: int) -> list[int]:
    """The processes that sshd made of itself for its connections, children before their parents. Not the commands."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    found = [pid for child in map(int, children) for pid in (*sessions_of(child), child)]
    return [child for child in found if is_sshd(child)]


def is_sshd(pid: int) -> bool:
    """Newer versions have a program of its own for each part: `sshd-session`, `sshd-auth`."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False


def kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


class Account:
    """A user: a key, a configuration of OpenSSH, a file of known hosts, and lyc's own home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.key = keygen(home / "id")
        self.config = home / "config"
        self.user_known_hosts = home / "user_known_hosts"
        self.lyc_known_hosts = home / "lyc" / "known_hosts"
        self._hosts = ""
        self.configure()

    @property
    def public(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def configure(self, *lines: str) -> None:
        """What stands for all hosts, after what `knows` wrote."""
        common = (
            "KexAlgorithms curve25519-sha256",  # half the time of the default, which has a post-quantum part
            f"User {getpass.getuser()}",
            f"IdentityFile {self.key}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {self.user_known_hosts}",
        )
        self._common = "Host *\n" + "".join(f"  {line}\n" for line in (*lines, *common))
        self.config.write_text(self._hosts + self._common)

    def knows(self, alias: str, server: Server, *lines: str) -> None:
        """An alias for a server."""
        words = ("HostName 127.0.0.1", f"Port {server.port}", *lines)
        self._hosts += f"Host {alias}\n" + "".join(f"  {line}\n" for line in words)
        self.config.write_text(self._hosts + self._common)

    def target(self, address: str, port: int | None = None) -> Target:
        return Target(address, port, self.lyc_known_hosts, self.home / "run", self.config)

    def remote(self, address: str, port: int | None = None) -> SshRemote:
        return SshRemote(self.target(address, port), persist=20)
