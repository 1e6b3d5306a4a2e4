"""A lab of real hosts: brought up on demand, lent to tests, removed at the end, also what a killed run left.

Everything is in namespaces, control groups and a folder that carry the lab's name; a file lock says that it is in use.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.lab.control_group import ControlGroup
from tests.lab.engine import engine_layer
from tests.lab.machine import DISK, Machine
from tests.lab.network import Network, run
from tests.lab.rootfs import cache, rootfs

TOOLS = {
    "systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nft": "nftables", "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs", "ssh": "openssh-client", "nsenter": "util-linux",
    "cc": "gcc libc6-dev",
}  # fmt: skip
"""Program → the package of Debian and Ubuntu that has it."""
DIAL_SECONDS = 10.0
LOCK = "lock"


def impossible() -> str | None:
    """Why there can be no lab here at all; None if there can be."""
    if os.getuid() != 0:
        return "the lab of real hosts needs root (namespaces, mounts)"
    done = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"the lab of real hosts needs namespaces: {done.stderr.strip()}"


def missing() -> list[str]:
    """Packages to install first."""
    return sorted({package for program, package in TOOLS.items() if not shutil.which(program)})


class Lab:
    """Use `borrow` and `give_back`; `close` at the end. Raises RuntimeError where something is missing."""

    def __init__(self) -> None:
        if absent := missing():
            raise RuntimeError(f"the lab needs: apt-get install -y --no-install-recommends {' '.join(absent)}")
        labs = cache() / "labs"
        labs.mkdir(parents=True, exist_ok=True)
        self._base = rootfs()
        self.name = f"lyclab-{secrets.token_hex(3)}"
        self.folder = labs / self.name
        with (cache() / "labs.lock").open("w") as one_at_a_time:
            fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
            sweep(labs)
            self.folder.mkdir()
            (self.folder / LOCK).touch()
            lock = _held(self.folder)
        if lock is None:
            raise RuntimeError(f"{self.folder} is in use")
        self._lock = lock
        self.network = Network(self.name)
        self.network.up()
        self.key = self.folder / "id"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.key)
        self._machines: list[Machine] = []
        self._idle: list[Machine] = []
        self._engines: dict[tuple[Path, str], Path] = {}

    def borrow(
        self, count: int = 1, *, over: Sequence[Path] = (), disk: str = DISK, plain: Sequence[str] = ()
    ) -> list[Machine]:
        """Hosts that nobody else has, on and reachable; new ones are made when there are too few.

        over: layers on the bare file system, the uppermost first (`tests.lab.engine`). disk, plain: of new
        ones, see `Machine`.
        """
        layers = (*over, self._base)
        got = [self._taken(layers) or self._new(layers, disk, plain) for _ in range(count)]
        for machine in got:
            machine.start()
        for machine in got:
            machine.wait()
        return got

    def give_back(self, machines: Sequence[Machine], *, spoiled: bool = False) -> None:
        """Ready for the next. spoiled: their files are no longer those of a bare host, so they are taken away."""
        for machine in machines:
            if spoiled:
                self._machines.remove(machine)
                machine.unmake()
            else:
                machine.restore()
                self._idle.append(machine)

    def _taken(self, layers: Sequence[Path]) -> Machine | None:
        fits = next((machine for machine in reversed(self._idle) if machine.layers == layers), None)
        if fits:
            self._idle.remove(fits)
        return fits

    def engine(self, env: Path, at: str) -> Path:
        """The layer with the engine environment `env` of this machine as the hosts' folder `at`; see `borrow`."""
        key = (env, at)
        if key not in self._engines:
            self._engines[key] = engine_layer(self.folder / f"engine-{len(self._engines)}", env, at, self._base)
        return self._engines[key]

    def _new(self, layers: Sequence[Path], disk: str, plain: Sequence[str]) -> Machine:
        numbers = {machine.name for machine in self._machines}
        number = next(number for number in range(1, 100) if f"h{number}" not in numbers)
        public = self.key.with_suffix(".pub").read_text()
        place = self.folder / f"h{number}"
        machine = Machine(self.network, number, place, layers, public, disk=disk, plain=plain)
        machine.make()
        self._machines.append(machine)
        return machine

    def host_block(self, alias: str, machine: Machine, *lines: str, direct: bool = True) -> str:
        """A `Host` of an ssh_config for a machine. direct: from outside of the lab; else only another host, as the
        jump, gets there.
        """
        words = [f"HostName {machine.address}", "User root", f"IdentityFile {self.key}", "IdentitiesOnly yes"]
        if direct:
            words += [f"ProxyCommand {self.network.proxy_command(DIAL_SECONDS)}", "ProxyUseFdpass yes"]
        return f"Host {alias}\n" + "".join(f"  {line}\n" for line in (*lines, *words))

    def close(self) -> None:
        """Nothing is left."""
        for machine in self._machines:
            machine.unmake()
        remove(self.folder)
        self._lock.close()


def sweep(labs: Path) -> None:
    """Remove what runs that were killed left behind."""
    for folder in labs.iterdir():
        if (lock := _held(folder)) is not None:
            with lock:
                remove(folder)


def remove(folder: Path) -> None:
    """All processes, mounts, namespaces and files of the lab that lived in this folder."""
    ControlGroup(folder.name).remove()
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounts if place.startswith(f"{folder}/")), reverse=True):
        run("umount", "-l", place)
    Network(folder.name).down()
    for place in folder.iterdir():
        if place.is_dir():
            shutil.rmtree(place)
        elif place.name != LOCK:
            place.unlink()
    (folder / LOCK).unlink(missing_ok=True)  # last: without it nobody else begins to remove what is being removed
    folder.rmdir()


def _held(folder: Path) -> IO[str] | None:
    """The lock of a lab's folder, if nobody else holds it."""
    try:
        lock = (folder / LOCK).open("r+")
    except FileNotFoundError:  # it is just being made, or has just gone
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
