"""The root file system that all hosts of the lab start from: a bare Debian with systemd and sshd, and little else.

    python -m tests.lab.rootfs      make it now, so that no test has to wait for it

Kept by the content of its recipe under `LYC_LAB` (else `$XDG_CACHE_HOME/lyc-lab` or `~/.cache/lyc-lab`). Takes about a
minute and 250 MB, once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo", "iproute2", "ca-certificates",
    "curl", "python3", "procps", "netbase",
)  # fmt: skip
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
NOT_STARTED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "dpkg-db-backup.timer",
    "systemd-networkd-wait-online.service", "systemd-resolved.service", "dev-hugepages.mount", "console-getty.service",
)  # fmt: skip
HOOKS = (
    # Each clone makes these for itself: two hosts with one key or one machine-id are one host to much software.
    "rm -f $1/etc/ssh/ssh_host_*; : > $1/etc/machine-id; rm -f $1/etc/hostname",
    "chroot $1 useradd -m -s /bin/bash -p '*' ubuntu; echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' > $1/etc/sudoers.d/ubuntu",
    "chroot $1 useradd -m -s /bin/bash -p '*' plain",
    f"chroot $1 systemctl mask {' '.join(NOT_STARTED)}",
)
MIRROR = "http://deb.debian.org/debian"


def cache() -> Path:
    """Where the root file system and the disks of running labs lie."""
    given, xdg = os.environ.get("LYC_LAB"), os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(xdg) if xdg else Path.home() / ".cache") / "lyc-lab"


def rootfs() -> Path:
    """The root file system; made if it is not there. Waits while another process makes it."""
    recipe = repr((SUITE, PACKAGES, LEFT_OUT, HOOKS))
    place = cache() / f"root-{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "rootfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            fresh = place.with_name(place.name + ".new")
            shutil.rmtree(fresh, ignore_errors=True)
            done = subprocess.run(
                _mmdebstrap(fresh), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"mmdebstrap ended with {done.returncode}:\n{done.stderr[-3000:]}")
            fresh.rename(place)
    return place


def _mmdebstrap(into: Path) -> list[str]:
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        *(f"--customize-hook={hook}" for hook in HOOKS),
        SUITE, str(into), _mirror(),
    ]  # fmt: skip


def _mirror() -> str:
    """The mirror of Debian that this machine itself uses, else Debian's own."""
    places = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.sources")]
    for text in (place.read_text() for place in places if place.is_file()):
        if found := re.search(r"^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(http\S+/debian)/?\s*$", text, re.MULTILINE):
            return found[1]
    return MIRROR


if __name__ == "__main__":
    began = time.monotonic()
    print(rootfs(), f"({time.monotonic() - began:.1f}s)", file=sys.stderr)
