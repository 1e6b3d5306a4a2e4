"""An image to run on hosts of the lab, small and made in a second: Python, and `lyc.testing.engine` as `vllm`.

vLLM's own has more than 10 GB. What is around the engine (client, unit, mounts, rights, port, ends) is what that gets.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lyc.testing
from tests.lab.network import run

NAME = "localhost/lyc-engine:1"
_VLLM = """#!/usr/bin/python3 -I
import json, sys
sys.path.insert(0, "/opt")
given = dict(zip(sys.argv[3:], sys.argv[4:]))
with open("/tmp/key", "x") as file:
    file.write(json.load(open(given["--config"]))["api-key"])
print("stand-in serves", sys.argv[2], flush=True)
from lyc.testing.engine import main
main(["--port", given["--port"], "--api-key-file", "/tmp/key", "--served-model-name", given["--served-model-name"]])
"""
_LIBRARIES = ("libc.", "libm.", "libz.", "libexpat.", "libssl.", "libcrypto.", "libffi.", "ld-")
_LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


def packed(base: Path, into: Path) -> Path:
    """The file system of the image, as `podman import` takes it, from files of the hosts' own, `base`."""
    tree = into / "image"
    libraries = tree / "usr/lib/x86_64-linux-gnu"
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
    python = (base / "usr/bin/python3").resolve().name
    shutil.copytree(base / "usr/lib" / python, tree / "usr/lib" / python, symlinks=True)
    shutil.copy(base / "usr/bin" / python, tree / "usr/bin/python3")
    for file in (base / "usr/lib/x86_64-linux-gnu").iterdir():
        if file.name.startswith(_LIBRARIES):
            shutil.copy(file, libraries / file.name)
    (tree / "usr/lib64/ld-linux-x86-64.so.2").symlink_to(f"/{_LOADER}")
    shutil.copytree(Path(lyc.testing.__file__).parent, tree / "opt/lyc/testing")
    (tree / "opt/lyc/__init__.py").touch()
    command = tree / "usr/local/bin/vllm"
    command.write_text(_VLLM)
    command.chmod(0o755)
    tar = into / "image.tar"
    run("tar", "-C", tree, "-cf", tar, ".")
    shutil.rmtree(tree)
    return tar
