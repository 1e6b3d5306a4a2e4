"""The lab's network: one namespace with a bridge, one namespace for each host. The machine's own is left alone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

SUBNET = "10.77.0"
RUN_SECONDS = 60.0
"""No command of the lab takes as long; one that does hangs."""
DIAL = Path(__file__).with_name("dial.py")


def run(*argv: str | Path, check: bool = True, stdin: str = "", timeout: float = RUN_SECONDS) -> str:
    """A command's output, both streams. Raises RuntimeError with it, unless `check` is off."""
    done = subprocess.run(
        argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=timeout
    )  # fmt: skip
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))} ended with {done.returncode}: {done.stdout}")
    return done.stdout


class Network:
    """Namespace `name` with bridge `br0` at SUBNET.1."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.name

    def up(self) -> None:
        """Make it, empty."""
        run("ip", "netns", "add", self.name)
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", "br0", "type", "bridge")
        self._ip("addr", "add", f"{SUBNET}.1/24", "dev", "br0")
        self._ip("link", "set", "br0", "up")

    def down(self) -> None:
        """Take away all namespaces of this lab."""
        for path in Path("/run/netns").glob(f"{self.name}*"):
            run("ip", "netns", "del", path.name, check=False)

    def of(self, host: str) -> Path:
        """The namespace of a host."""
        return self.path.with_name(f"{self.name}-{host}")

    def plug(self, host: str, address: str) -> None:
        """A namespace for a host, with `eth0` on the bridge."""
        inner = self.of(host).name
        run("ip", "netns", "add", inner)
        self._ip("link", "add", f"v{host}", "type", "veth", "peer", "name", "eth0", "netns", inner)
        self._ip("link", "set", f"v{host}", "master", "br0", "up")
        for words in (
            ("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up"), ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", f"{SUBNET}.1"),
        ):  # fmt: skip
            run("ip", "-n", inner, *words)
        self._ip("neigh", "flush", "to", address)  # else one that had this address is waited for, up to 45 s

    def unplug(self, host: str) -> None:
        """The host's namespace and its link go."""
        self._ip("link", "del", f"v{host}", check=False)  # with its namespace it would go too, but some time later
        run("ip", "netns", "del", self.of(host).name, check=False)

    def cut(self, host: str) -> None:
        """The cable is out: packets vanish, nothing says so."""
        self._ip("link", "set", f"v{host}", "down")

    def join(self, host: str) -> None:
        self._ip("link", "set", f"v{host}", "up")

    def blackhole(self, host: str, port: int) -> None:
        """A firewall that drops what goes to one TCP port of the host."""
        table = f"netdev bh_{host}"
        chain = f'chain c {{ type filter hook egress device "v{host}" priority 0;\n tcp dport {port} drop\n }}\n'
        self._nft(f"table {table}\ndelete table {table}\ntable {table} {{ {chain} }}\n")

    def unblackhole(self, host: str) -> None:
        self._nft(f"table netdev bh_{host}\ndelete table netdev bh_{host}\n")

    def detour(self, host: str, *, through: bool) -> None:
        """Whether the host's link goes to the bridge by a second pair, `s` and `t`, between which a shaper stands."""
        self._ip("link", "del", f"s{host}", check=False)
        if not through:
            self._ip("link", "set", f"v{host}", "master", "br0")
            return
        self._ip("link", "add", f"s{host}", "type", "veth", "peer", "name", f"t{host}")
        self._ip("link", "set", f"s{host}", "master", "br0", "up")
        self._ip("link", "set", f"t{host}", "up")
        self._ip("link", "set", f"v{host}", "nomaster")

    def inside(self, *argv: str | Path) -> list[str]:
        """argv, run in the lab's namespace."""
        return ["nsenter", f"--net={self.path}", *map(str, argv)]

    def proxy_command(self, seconds: float) -> str:
        """For `ssh_config`: how ssh, outside, gets a connection to an address inside."""
        words = self.inside(system_python(), "-I", "-S", DIAL, "%h", "%p", str(seconds))
        return " ".join(f'"{word}"' if " " in word else word for word in words)

    def dial(self, address: str, port: int, seconds: float = 2.0) -> socket.socket:
        """A connection to an address inside. Raises ConnectionError."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                argv = self.inside(system_python(), "-I", "-S", DIAL, address, str(port), str(seconds))
                done = subprocess.run(argv, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise ConnectionError(done.stderr.strip())
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=descriptors[0])

    def _ip(self, *words: str, check: bool = True) -> None:
        run("ip", "-n", self.name, *words, check=check)

    def _nft(self, text: str) -> None:
        run(*self.inside("nft", "-f", "-"), stdin=text)


def system_python() -> str:
    """The system's Python, which starts faster than an environment's; else the one that runs this."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
