"""What `lyc doctor` looks at, each as a finding with the command that mends it.

The judging is pure, on facts that were read before; what must be tried (a port, a program) is tried here.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lyc.errors import LycError
from lyc.units import GIB, show_bytes

if TYPE_CHECKING:
    from lyc.control.documents import ControllerDocument
    from lyc.ports import Supervisor
    from lyc.records.plan import EngineBuild, HostFacts
    from lyc.spec.settings import Settings

OK, WARN, FAIL = "ok", "warning", "fail"
_OLDEST_PYTHON = (3, 11)
_LEAST_MEMORY = 3 * GIB
"""What the smallest model needs on a CPU: see the measurements in `lyc.planning.host.memory`."""
_ROOM_AFTER_INSTALL = 2 * GIB
_PROGRAM_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. state: ok | warning | fail. remedy: a command to type, or empty."""

    check: str
    state: str
    found: str
    remedy: str = ""


def python() -> Finding:
    """Whether this Python may run lyc."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        return Finding("python", OK, f"{version}, {sys.executable}")
    return Finding("python", FAIL, f"{version} is too old, 3.11 is needed", "uv tool install --python 3.12 lyc")


def program(check: str, find: Callable[[], Path], *, remedy: str) -> Finding:
    """Whether a program is there and tells its version. find: raises where there is none."""
    try:
        path = find()
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except LycError as problem:
        return Finding(check, FAIL, str(problem), problem.hint or remedy)
    except (ImportError, OSError, subprocess.SubprocessError) as problem:
        return Finding(check, FAIL, f"it cannot be started: {problem}", remedy)
    said = (done.stdout or done.stderr).strip().splitlines()
    first = next((line.strip() for line in said if line.strip()), "no word")
    if done.returncode != 0:
        return Finding(check, FAIL, f"it does not run: {first}", remedy)
    version = re.search(r"\d+\.\d+\.\d+", first)
    return Finding(check, OK, f"{version[0] if version else first}, {path}")


def engine(build: EngineBuild, bin_dir: Path | None) -> Finding:
    """Whether the engine of this release is installed."""
    if bin_dir is not None:
        return Finding("engine", OK, f"{build.id}, {bin_dir.parent}")
    return Finding("engine", WARN, f"{build.id} is not installed; the first deploy installs it", "lyc doctor --fix")


def memory(facts: HostFacts) -> Finding:
    """Whether the smallest model could be served now."""
    found = f"{show_bytes(facts.memory_available)} of {show_bytes(facts.memory_total)} available"
    if facts.memory_total < _LEAST_MEMORY:
        return Finding("memory", FAIL, f"{found}; an engine needs {show_bytes(_LEAST_MEMORY)}")
    if facts.memory_available < _LEAST_MEMORY:
        return Finding("memory", WARN, f"{found}; an engine needs {show_bytes(_LEAST_MEMORY)}", "lyc ls")
    return Finding("memory", OK, found)


def disk(facts: HostFacts, settings: Settings, *, needed: int) -> Finding:
    """needed: bytes of what is not installed yet."""
    found = f"{show_bytes(facts.disk_free)} free for {settings.cache}"
    wanted = needed + _ROOM_AFTER_INSTALL
    if facts.disk_free >= wanted:
        return Finding("disk", OK, found)
    state = FAIL if facts.disk_free < needed else WARN
    return Finding("disk", state, f"{found}; {show_bytes(wanted)} are wanted", "export LYC_CACHE=/a/larger/disk")


def processor(facts: HostFacts) -> Finding:
    """What the CPU offers to an engine that runs on it. Requirements: https://docs.vllm.ai, Installation, CPU."""
    flags = facts.cpu_flags
    best = next((flag for flag in ("amx_tile", "avx512f", "avx2", "asimd") if flag in flags), None)
    found = f"{facts.cpus} cores, {facts.machine}" + (f", {best}" if best else "")
    if facts.accelerators or best is not None:
        return Finding("cpu", OK, found)
    return Finding("cpu", WARN, f"{found}: vLLM on a CPU needs AVX2, AVX-512 or NEON")


def accelerators(facts: HostFacts) -> Finding:
    """Which cards there are. None is fine: the engine then runs on the CPU."""
    if not facts.accelerators:
        return Finding("gpu", OK, "none that nvidia-smi knows; engines run on the CPU")
    cards = ", ".join(f"{card.product or card.name} ({show_bytes(card.memory_total)})" for card in facts.accelerators)
    return Finding("gpu", OK, f"{cards}, driver {facts.driver or 'unknown'}")


def shared_library(name: str, *, package: str) -> Finding:
    """Whether the dynamic linker finds a library that the engine is linked against. name: such as `libnuma.so.1`."""
    short = name.partition(".")[0]
    try:
        ctypes.CDLL(name)
    except OSError:
        return Finding(short, FAIL, f"{name} is missing; the CPU engine needs it", f"apt-get install {package}")
    return Finding(short, OK, name)


def home(settings: Settings) -> Iterator[Finding]:
    """Whether what lyc keeps is its user's alone."""
    for path in (settings.home, settings.run_dir):
        try:
            status = path.stat()
        except FileNotFoundError:
            if path == settings.home:
                yield Finding("home", OK, f"{path} does not exist yet")
            continue
        except OSError as problem:
            yield Finding("home", FAIL, f"{path}: {problem.strerror}", "export LYC_HOME=…")
            continue
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != settings.uid:
            yield Finding("home", FAIL, f"{path} belongs to user {status.st_uid}", "export LYC_HOME=…")
        elif mode & 0o077:
            yield Finding("home", WARN, f"{path} is open to others (mode {mode:o})", f"chmod 700 {path}")
        elif not os.access(path, os.W_OK | os.X_OK):
            yield Finding("home", FAIL, f"{path} cannot be written", f"chmod 700 {path}")
        else:
            yield Finding("home", OK, str(path))


def port(settings: Settings, info: ControllerDocument | None) -> Finding:
    """Whether the gateway has its port, or could have it."""
    host, number = settings.gateway_host, settings.gateway_port
    if info is not None and info["gateway"]["state"] == "running":
        return Finding("gateway", OK, f"running at {info['gateway']['url']}")
    if info is not None and (error := info["gateway"].get("error")) is not None:
        return Finding("gateway", FAIL, error["what"], error["hint"])
    if number == 0:
        return Finding("gateway", OK, "not running; it will choose a free port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as problem:
            state = FAIL if settings.gateway_port_explicit else WARN
            return Finding("gateway", state, f"{host}:{number}: {problem.strerror}", "export LYC_GATEWAY_PORT=0")
    return Finding("gateway", OK, f"not running; {host}:{number} is free")


def controller(info: ControllerDocument | None, problem: LycError | None) -> Finding:
    """problem: what kept the controller from answering, but for not running."""
    if problem is not None:
        return Finding("controller", FAIL, str(problem), problem.hint or "lyc controller restart")
    if info is None:
        return Finding("controller", OK, "not running; it starts when needed")
    return Finding("controller", OK, f"running, pid {info['pid']}, lyc {info['version']}")


def strays(settings: Settings, supervisor: Supervisor) -> Finding:
    """Processes of this home whose folders are gone: nobody would ever stop them."""
    known = [record.parent for record in settings.home.glob("**/process.json")]
    pids = supervisor.stray(known)
    if not pids:
        return Finding("processes", OK, "none astray")
    numbers = " ".join(map(str, sorted(pids)))
    return Finding("processes", FAIL, f"processes that nobody looks after: {numbers}", f"kill {numbers}")
