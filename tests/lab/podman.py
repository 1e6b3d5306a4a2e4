"""Podman for hosts of the lab, as a layer on their bare file system, and images without any registry.

    python -m tests.lab.podman      make the layer now, so that no test has to wait for it

A quarter of a minute and 100 MB, once; kept beside the bare file system. Images are that file system itself, imported
into a host (seconds), with volumes that a host gives to all its containers where an image is to hold more: an engine,
which would take minutes to import. So `vllm` in such a container is the real one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.engine import PYTHON
from tests.lab.lab import impossible, missing
from tests.lab.machine import Machine
from tests.lab.network import run
from tests.lab.rootfs import cache, rootfs

IMAGE = "localhost/engine:latest"
ENGINE = "/opt/engine"
PACKAGES = ("podman", "crun", "catatonit", "uidmap")
STORE = "/var/lib/containers"
"""Podman's storage is itself made of overlays, and needs a plain file system below."""
INSTALL = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-unsafe-io {" ".join(PACKAGES)}
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /etc/resolv.conf {STORE}
"""
INSTALL_SECONDS = 300.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFT_OUT = (
    "./boot/*",
    "./dev/*",
    "./usr/share/*",
    "./usr/lib/systemd",
    "./usr/lib/udev",
    "./var/cache/*",
    "./var/lib/dpkg",
)
LIBRARIES = "ls /usr/lib/x86_64-linux-gnu/libnuma.so.1 /usr/lib/x86_64-linux-gnu/libpython3*.so.*"
"""What a layer with an engine has put among the host's libraries."""
CONFIG = "etc/containers/containers.conf"


def layer() -> Path:
    """The layer; made if it is not there. Waits while another process makes it. Raises RuntimeError."""
    base = rootfs()
    recipe = f"{base.name} {INSTALL}"
    place = cache() / f"podman-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (cache() / "podman.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _make(place, base)
    return place


def _make(place: Path, base: Path) -> None:
    fresh, work, root = (place.with_name(f"{place.name}.{part}") for part in ("new", "work", "root"))
    for folder in (fresh, work, root):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    layers = f"lowerdir={base},upperdir={fresh},workdir={work}"
    # In a mount namespace of its own: whatever happens, no mount is left.
    script = (
        'mount -t overlay overlay -o "$1" "$2"; cp --remove-destination /etc/resolv.conf "$2/etc/resolv.conf"; '
        'mount -t proc proc "$2/proc"; exec chroot "$2" sh -ec "$3"'
    )
    run(
        "unshare", "--mount", "--pid", "--fork", "sh", "-ec", script, "sh", layers, root, INSTALL,
        timeout=INSTALL_SECONDS,
    )  # fmt: skip
    shutil.rmtree(work)
    root.rmdir()
    fresh.rename(place)


def import_image(machine: Machine, name: str, *, path: Sequence[str] = (), entry: Sequence[str] = ()) -> None:
    """Make the bare file system an image of a host that has Podman. path: folders before the usual ones in PATH.
    entry: its ENTRYPOINT.
    """
    words = [f"--change=ENV PATH={':'.join((*path, PATH))}"]
    if entry:
        words.append(f"--change=ENTRYPOINT {json.dumps(list(entry))}")
    left_out = (f"--exclude={pattern}" for pattern in LEFT_OUT)
    with subprocess.Popen(["tar", "-C", machine.layers[-1], "-c", *left_out, "."], stdout=subprocess.PIPE) as packed:
        done = subprocess.run(
            machine.entered("podman", "import", "--quiet", *words, "-", name),
            stdin=packed.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0 or packed.returncode != 0:
        raise RuntimeError(f"podman import ended with {done.returncode}, tar with {packed.returncode}: {done.stdout}")


def engine_image(machine: Machine) -> None:
    """Give a host the image `IMAGE`: an engine, started by `vllm serve` as in vLLM's own images. The host's layers have
    the engine in the folder `ENGINE`.
    """
    volumes = json.dumps([f"{path}:{path}:ro" for path in (ENGINE, PYTHON, *machine.shell(LIBRARIES).split())])
    config = machine.root / CONFIG
    config.write_text(f"[containers]\nvolumes = {volumes}\n")
    import_image(machine, IMAGE, path=[f"{ENGINE}/bin"], entry=["vllm", "serve"])


if __name__ == "__main__":
    began = time.monotonic()
    if why := impossible() or ", ".join(missing()):
        sys.exit(f"no lab here: {why}")
    layer()
    print(f"hosts of the lab ({time.monotonic() - began:.1f}s)")
