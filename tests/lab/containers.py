"""Containers on hosts of the lab: Podman as a layer of their file system, and an image to run.

The image is made from files of the lab's own root file system, since hosts have no way to a registry, and since vLLM's
has more than 10 GB: Python with `lyc.testing.engine`, which speaks as vLLM does, under the name of vLLM's command. What
is around it (client, unit, mounts, rights, ports, ends) is what vLLM's own image gets.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import lyc.testing
from tests.lab.network import run
from tests.lab.rootfs import cache

PACKAGES = ("podman", "crun", "catatonit", "uidmap")
IMAGE = "localhost/lyc-engine:1"
_INSTALL = """set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
cp -L /etc/resolv.conf "$4/etc/resolv.conf"
for one in /etc/apt/apt.conf.d/*; do case $one in *[Pp]roxy*) cp "$one" "$4/etc/apt/apt.conf.d/";; esac; done
mount -t proc proc "$4/proc"
chroot "$4" apt-get update -qq
DEBIAN_FRONTEND=noninteractive chroot "$4" apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-unsafe-io "${@:5}"
printf '[storage]\\ndriver = "vfs"\\nrunroot = "/run/containers/storage"\\ngraphroot = "/var/lib/containers/storage"\\n' \
    >"$4/etc/containers/storage.conf"
rm -rf "$4"/var/lib/apt/lists/* "$4"/var/cache/apt/*.bin "$4"/var/cache/apt/archives/*.deb "$4/etc/resolv.conf"
"""
"""Files are copied for each container (vfs): the hosts' own file system is an overlay, and takes no other on top."""
_VLLM = """#!/usr/bin/python3 -I
import json, os, sys
sys.path.insert(0, "/opt")
given = dict(zip(sys.argv[3:], sys.argv[4:]))
with open("/tmp/key", "x") as file:
    file.write(json.load(open(given["--config"]))["api-key"])
print("stand-in serves", sys.argv[2], flush=True)
from lyc.testing.engine import main
main(["--port", given["--port"], "--api-key-file", "/tmp/key", "--served-model-name", given["--served-model-name"]])
"""
_LIBRARIES = (
    "libc.",
    "libm.",
    "libz.",
    "libexpat.",
    "libssl.",
    "libcrypto.",
    "libffi.",
    "libpthread.",
    "libdl.",
    "ld-",
)


def podman_layer(base: Path) -> Path:
    """Podman of the distribution of `base`, made once (half a minute) and kept in the lab's cache."""
    recipe = repr((base.name, PACKAGES, _INSTALL))
    place = cache() / f"podman-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with (cache() / "podman.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            fresh = place.with_name(f"{place.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            parts = [fresh / part for part in ("up", "work", "root")]
            for part in parts:
                part.mkdir(parents=True)
            # in a mount namespace of its own, with which the mounts go
            script = ["unshare", "--mount", "bash", "-c", _INSTALL, "bash", base, *parts, *PACKAGES]
            done = subprocess.run(script, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"installing podman ended with {done.returncode}:\n{done.stderr[-3000:]}")
            (fresh / "up").rename(place)
            shutil.rmtree(fresh)
    return place


def image_tar(base: Path, into: Path) -> Path:
    """The file system of the image, as `podman import` takes it. Made in `into`."""
    tree = into / "image"
    for folder in (
        "usr/bin",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
        "usr/local/bin",
        "opt/lyc",
        "etc",
        "tmp",
        "proc",
    ):
        (tree / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (tree / link).symlink_to(f"usr/{link}")
    shutil.copytree(base / "usr/lib/python3.11", tree / "usr/lib/python3.11", symlinks=True)
    shutil.copy(base / "usr/bin/python3.11", tree / "usr/bin/python3")
    for file in (base / "usr/lib/x86_64-linux-gnu").iterdir():
        if file.name.startswith(_LIBRARIES):
            shutil.copy(file, tree / "usr/lib/x86_64-linux-gnu" / file.name)
    (tree / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    shutil.copytree(Path(lyc.testing.__file__).parent, tree / "opt/lyc/testing")
    (tree / "opt/lyc/__init__.py").touch()
    command = tree / "usr/local/bin/vllm"
    command.write_text(_VLLM)
    command.chmod(0o755)
    tar = into / "image.tar"
    run("tar", "-C", tree, "-cf", tar, ".")
    shutil.rmtree(tree)
    return tar
