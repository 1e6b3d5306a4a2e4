"""A layer for hosts of the lab whose engine for the CPU is `lyc.testing.engine`: a replica starts in a second."""

from __future__ import annotations

import shutil
from pathlib import Path

import lyc
from lyc.engines.versions import pinned, recipe
from lyc.hosts.making import MARKER, folder_name
from tests.lab.engine import LIBRARIES, NUMA
from tests.lab.machine import Machine

ENGINES = "var/lib/lyc/engines"
HOME = "opt/lab-stand-in"
LOADING = f"{HOME}/loading"
PYTHON = (3, 11)
"""Of the hosts."""
_PARTS = ("__init__.py", "testing/__init__.py", "testing/engine.py", "testing/answers.py", "testing/http1.py")
_VLLM = """#!/usr/bin/python3
import json, sys, tempfile
from pathlib import Path

sys.path.insert(0, "/{home}")
given = dict(zip(sys.argv[3:], sys.argv[4:]))
config = Path(given["--config"])
key = Path(tempfile.mkdtemp()) / "key"
key.write_text(json.loads(config.read_text())["api-key"])
from lyc.testing.engine import main

loading = Path("/{loading}")
main([
    "--port", given["--port"], "--api-key-file", str(key), "--served-model-name", given["--served-model-name"],
    "--load-delay", loading.read_text() if loading.exists() else "0",
])
"""


def stand_in_layer(into: Path) -> Path:
    """Files below `into`, for `Lab.borrow(over=…)`. The same again changes nothing."""
    build = pinned(on_cpu=True)
    env = into / ENGINES / folder_name(recipe(build), PYTHON)
    if (env / MARKER).exists():
        return into
    for part in _PARTS:
        target = into / HOME / "lyc" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(lyc.__file__).parent / part, target)
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").symlink_to("/usr/bin/python3")
    (env / "bin" / "vllm").write_text(_VLLM.format(home=HOME, loading=LOADING))
    (env / "bin" / "vllm").chmod(0o755)
    libraries = into / LIBRARIES
    libraries.mkdir(parents=True)
    (libraries / NUMA).touch()  # it is looked for, and nothing loads it
    (env / MARKER).write_text("stand-in\n")
    for folder in [path for path in into.rglob("*") if path.is_dir()]:
        folder.chmod(0o755)
    return into


def loads_for(machine: Machine, seconds: float) -> None:
    """So long engines take that start on it from now on."""
    (machine.root / LOADING).write_text(str(seconds))
