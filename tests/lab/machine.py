"""One host of the lab: a real Debian with systemd as PID 1, sshd, its own address, host key and disk.

A clone (overlayfs) of the root file system on a small ext4 of its own, booted by `systemd-nspawn` in its own network
namespace. What is not real: one kernel for all (its clock, modules and sysctls), and no data is lost in a power cut but
what a process held.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import cards
from tests.lab.control_group import ENTER, WRITABLE, ControlGroup
from tests.lab.network import SUBNET, Network, run, system_python

CARDS = "lab-cards"
DISK = "4G"
BOOT_ID = "proc/sys/kernel/random/boot_id"
SSHD_SECONDS = 60.0
BOOT = f'{ENTER}while :; do "$@"; [ $? = 133 ] || exit; done'
"""nspawn ends with 133 where the host asked for a reboot; somebody has to start it again."""
NVIDIA_SMI = """#!/bin/sh
case "$*" in
{cases}
*) echo "unexpected arguments: $*"; exit 2;;
esac
"""


class Machine:
    """Make one with `Lab.borrow`. name: `h1`, …; address: its IP in the lab."""

    def __init__(
        self,
        network: Network,
        number: int,
        folder: Path,
        layers: Sequence[Path],
        public_key: str,
        *,
        disk: str = DISK,
        plain: Sequence[str] = (),
    ) -> None:
        """layers: what its file system consists of but for what it writes itself, the bare one last. disk: its size,
        of which nothing is taken before it is written. plain: folders that lie on that disk with no layers below.
        """
        self.network = network
        self.name = f"h{number}"
        self.address = f"{SUBNET}.{10 + number}"
        self.folder = folder
        self.layers = tuple(layers)
        self._disk = disk
        self._plain = tuple(plain)
        self._public_key = public_key
        self._group = ControlGroup(f"{network.name}/{self.name}")
        self._shapers = ControlGroup(f"{network.name}/{self.name}-shaper")
        self._boot: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its file system, as this machine sees it."""
        return self.folder / "root"

    # -- being made and taken away

    def make(self) -> None:
        """Disk, identity, network. Off."""
        for part in ("disk", "root"):
            (self.folder / part).mkdir(parents=True)
        image = self.folder / "disk.img"
        run("truncate", "-s", self._disk, image)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", image)
        run("mount", "-o", "loop", image, self.folder / "disk")
        upper, work = self.folder / "disk" / "up", self.folder / "disk" / "work"
        upper.mkdir()
        work.mkdir()
        layers = f"lowerdir={':'.join(map(str, self.layers))},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        for path in self._plain:
            self._on_disk(path).mkdir()
        self._identify()
        self.network.plug(self.name, self.address)

    def _on_disk(self, path: str) -> Path:
        return self.folder / "disk" / path.strip("/").replace("/", "-")

    def _identify(self) -> None:
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        others = "".join(f"{SUBNET}.{10 + number} h{number}\n" for number in range(1, 20))
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{others}")
        self._unit("lab-control-groups", WRITABLE)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self._host_key)
        for home in ("root", "home/ubuntu", "home/plain"):
            place = self.root / home / ".ssh"
            place.mkdir(mode=0o700, exist_ok=True)
            (place / "authorized_keys").write_text(self._public_key)
            owner = (self.root / home).stat()
            for path in (place, place / "authorized_keys"):
                os.chown(path, owner.st_uid, owner.st_gid)

    def _unit(self, name: str, text: str) -> None:
        """A unit of the host, run at each boot before all others."""
        units = self.root / "etc/systemd/system"
        (units / f"{name}.service").write_text(text)
        wanted = units / "sysinit.target.wants"
        wanted.mkdir(exist_ok=True)
        link = wanted / f"{name}.service"
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{name}.service")

    def unmake(self) -> None:
        """Off, and nothing of it left."""
        self._shapers.remove()
        self._group.remove()
        self._reap()
        for part in ("root", "disk"):
            run("umount", "-l", self.folder / part, check=False)
        self.network.unplug(self.name)
        shutil.rmtree(self.folder)

    # -- power

    def start(self) -> None:
        """Switch on, unless it is. Returns at once; see `wait`."""
        if self._boot and self._boot.poll() is None:
            return
        self._group.make()
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--hostname={self.name}",
            f"--machine={self.network.name}-{self.name}", "--register=no", "--keep-unit", "--resolv-conf=off",
            f"--network-namespace-path={self.network.of(self.name)}", "--timezone=off", "--link-journal=no",
            "--console=read-only", "--capability=CAP_NET_ADMIN", "--system-call-filter=@keyring",
            *(f"--bind={self._on_disk(path)}:{path}" for path in self._plain),
        ]  # fmt: skip
        with (self.folder / "console.log").open("ab") as log:
            self._boot = subprocess.Popen(
                ["sh", "-c", BOOT, f"{self.network.name}-{self.name}", *map(str, self._group.folders), "--", *nspawn],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},  # net.* sysctls are its own
            )  # fmt: skip

    def wait(self, seconds: float = SSHD_SECONDS) -> None:
        """Until sshd says its banner."""
        end = time.monotonic() + seconds
        while not self._greets():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} has no sshd after {seconds} s:\n{self.console()[-2000:]}")
            time.sleep(0.05)

    def _greets(self) -> bool:
        try:
            with self.network.dial(self.address, 22, 1.0) as connection:
                connection.settimeout(2.0)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def power_cut(self) -> None:
        """Off between two instructions."""
        leader = self.leader()
        if self._boot:
            self._signal(self._boot.pid)  # first, so that nothing starts it again
        if leader:
            self._signal(leader)  # with a PID 1 goes everything in its namespace
        self._group.kill()
        self._reap()

    def reboot(self) -> None:
        """An orderly restart. Returns when sshd of the next start answers."""
        before = self.boot_id()
        self.shell("systemctl --no-block reboot")
        end = time.monotonic() + SSHD_SECONDS
        while self.boot_id() in ("", before):
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not come back")
            time.sleep(0.05)
        self.wait()

    def freeze(self) -> None:
        """It hangs: its kernel takes connections, nothing answers."""
        self._group.freeze(True)

    def thaw(self) -> None:
        self._group.freeze(False)

    def limit_memory(self, size: int | None) -> None:
        """As if it had only so many bytes of memory (and said otherwise): beyond, the kernel's OOM killer takes the
        largest of its processes, with SIGKILL. None: as much as there is. For one service alone, MemoryMax= does it.
        What `shell` runs is outside.
        """
        self._group.limit_memory(size)

    def memory(self) -> int:
        """Bytes that it uses."""
        return self._group.memory()

    @property
    def on(self) -> bool:
        return bool(self._group.pids())

    # -- network

    def cut(self) -> None:
        self.network.cut(self.name)

    def join(self) -> None:
        self.network.join(self.name)

    def blackhole(self, port: int) -> None:
        self.network.blackhole(self.name, port)

    def unblackhole(self) -> None:
        self.network.unblackhole(self.name)

    def shape(self, *, delay_ms: float = 0, loss_percent: float = 0, kbit: int = 0) -> None:
        """A slow, lossy or narrow link, each way; without arguments as it was."""
        wanted = any((delay_ms, loss_percent, kbit))
        self._shapers.remove()
        self.network.detour(self.name, through=wanted)
        if not wanted:
            return
        self._shapers.make()
        shaper = self.network.inside(
            system_python(), "-I", "-S", Path(__file__).with_name("shaping.py"),
            f"v{self.name}", f"t{self.name}", delay_ms, loss_percent, kbit,
        )  # fmt: skip
        process = subprocess.Popen(
            ["sh", "-c", f'{ENTER}exec "$@"', "shaper", *map(str, self._shapers.folders), "--", *shaper],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout
        with process.stdout:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the shaper did not start")

    # -- inside

    def leader(self) -> int | None:
        """The pid, on this machine, of the host's PID 1."""
        for pid in self._group.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            ids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
            if len(ids) > 1 and ids[1] == "1":
                return pid
        return None

    def shell(self, script: str, *, stdin: str = "") -> str:
        """Run a script in it as root, without SSH. Raises RuntimeError with its output if it fails."""
        return run(*self.entered("sh", "-c", script), stdin=stdin)

    def entered(self, *argv: str) -> list[str]:
        """argv, run in it as root, without SSH and outside of its control groups. Raises RuntimeError if it is off."""
        leader = self.leader()
        if leader is None:
            raise RuntimeError(f"{self.name} is off")
        return ["nsenter", f"--target={leader}", "-m", "-u", "-i", "-n", "-p", "-r", "-w", *argv]

    def boot_id(self) -> str:
        """Looked at from outside: what enters a host that goes down may hang, for its PID 1 is ending. Empty if off."""
        leader = self.leader()
        try:
            return Path("/proc", str(leader), "root", BOOT_ID).read_text().strip() if leader else ""
        except OSError:
            return ""

    def restart_sshd(self) -> None:
        self.shell("systemctl restart ssh")
        self.wait()

    def kill_sshd(self) -> None:
        """All of it, with the connections that are there; systemd starts it again at once."""
        self.shell("pkill -KILL -x sshd")  # which does not mind that one ends by itself meanwhile

    def change_host_key(self) -> None:
        """As after an installation anew."""
        self.shell("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
        self.restart_sshd()

    @property
    def _host_key(self) -> Path:
        return self.root / "etc/ssh/ssh_host_ed25519_key"

    def host_key(self) -> str:
        """Its public key: type and content, as known_hosts has them."""
        return " ".join(self._host_key.with_suffix(".pub").read_text().split()[:2])

    def fill(self, *, leave: int = 0) -> None:
        """Its disk is full but for `leave` bytes."""
        disk = self.folder / "disk"
        free = os.statvfs(disk)
        run("fallocate", "-l", str(max(1, free.f_bavail * free.f_bsize - leave)), disk / "filler", check=False)
        with (disk / "filler.rest").open("ab", buffering=0) as file:
            while os.statvfs(disk).f_bavail * free.f_bsize > leave:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break

    def unfill(self) -> None:
        for name in ("filler", "filler.rest"):
            (self.folder / "disk" / name).unlink(missing_ok=True)

    def nvidia_smi(self, answers: Mapping[str, str], *, code: int = 0) -> None:
        """A stand-in for `nvidia-smi`: what it prints for each pattern of its arguments (as of `case` in the shell)."""
        place = self.root / "opt" / "nvidia-smi"
        place.mkdir(parents=True, exist_ok=True)
        cases = []
        for number, (pattern, text) in enumerate(answers.items()):
            (place / str(number)).write_text(text)
            glob = "*".join(shlex.quote(part) if part else "" for part in pattern.split("*")) or "''"
            cases.append(f"{glob}) cat /opt/nvidia-smi/{number}; exit {code};;")
        program = self.root / "usr/bin/nvidia-smi"
        program.write_text(NVIDIA_SMI.format(cases="\n".join(cases)))
        program.chmod(0o755)

    def no_nvidia_smi(self) -> None:
        (self.root / "usr/bin/nvidia-smi").unlink(missing_ok=True)
        shutil.rmtree(self.root / "opt/nvidia-smi", ignore_errors=True)

    def cards(self, minors: Sequence[int]) -> None:
        """Has stand-ins for NVIDIA cards, with an nvidia-smi, until it is given back: one for each number, which is
        that of its device node. See `tests.lab.cards`.
        """
        self.no_cards()
        cards.put(self.root, minors)
        self._unit(CARDS, cards.UNIT)
        self.shell(f"{cards.FOLDER}/up")
        self.nvidia_smi(cards.answers(len(minors)))

    def no_cards(self) -> None:
        self.no_nvidia_smi()
        unit = self.root / f"etc/systemd/system/{CARDS}.service"
        if unit.exists():
            self.shell(f"sh {cards.FOLDER}/down; rm -r {cards.FOLDER} /etc/systemd/system/*/{CARDS}.service")
            unit.unlink()

    def console(self) -> str:
        """What it said on its console."""
        log = self.folder / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def restore(self) -> None:
        """Well and reachable again, whatever a test did to its power, link or disk. Its files stay as they are."""
        self.thaw()
        self.shape()
        self.join()
        self.unblackhole()
        self.unfill()
        self.start()
        self.limit_memory(None)
        self.wait()
        self.no_cards()

    def _reap(self) -> None:
        if self._boot:
            self._boot.wait(20)
            self._boot = None

    @staticmethod
    def _signal(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
