"""The checks of the system, this account, the clock and the network. Pure; `lyc.engines.preflight` is the table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lyc.engines import requirements
from lyc.engines.install_words import install_words
from lyc.records.host import Check, CheckState, Disk, RemoteFacts
from lyc.records.plan import EngineBuild
from lyc.units import GIB, show_bytes, show_duration

_FAILED, _WARNING, _UNKNOWN, _PASSED = CheckState
_LEAST_MEMORY = 3 * GIB
"""What the smallest model needs: see the measurements in `lyc.planning.host.memory`."""
_MEMORY_ON_GPU = 8 * GIB
"""An idle engine for CUDA holds 4 to 6 GiB of host memory; below this, loading weights begins to swap."""
_ROOM = 2 * GIB
_SKEW_WARNING, _SKEW_FAILED = 30.0, 300.0
"""Seconds. Presigned addresses and leases bear minutes, not more; S3 itself refuses at 15 minutes."""


def system(facts: RemoteFacts) -> Iterator[Check]:
    """Linux, on a machine for which the engine is built."""
    why = "the engine is built for Linux on x86-64 and aarch64"
    if not facts.system:
        yield Check("system", _UNKNOWN, "it does not say what it is", why, "$ uname -a")
        return
    fine = facts.system == "Linux" and facts.machine in requirements.GLIBC
    found = f"{facts.os or facts.system}, {facts.machine}"
    remedy = "" if fine else "lyc hosts add ADDRESS, of a machine with Linux on x86-64 or aarch64"
    yield Check("system", _PASSED if fine else _FAILED, found, why, remedy)
    if facts.container:
        why = "what is installed there goes with it, and a restart brings it back empty unless its disk is a volume"
        remedy = f"lyc hosts add ADDRESS, of the machine that runs this {facts.container} container"
        yield Check("container", _WARNING, f"the host is itself a {facts.container} container", why, remedy)


def libc(facts: RemoteFacts) -> Iterator[Check]:
    """A C library for which the engine's wheels are built."""
    least = requirements.GLIBC.get(facts.machine)
    if facts.system != "Linux" or least is None:
        return
    why = f"the engine's wheels need glibc {least[0]}.{least[1]} or newer"
    match = re.match(r"glibc (\d+)\.(\d+)", facts.libc or "")
    if facts.libc is None:
        yield Check("libc", _UNKNOWN, "its version cannot be told", why, "$ ldd --version")
    elif match is None:
        remedy = "install Debian 12, Ubuntu 22.04, Rocky Linux 9 or newer on it"
        yield Check("libc", _FAILED, f"{facts.libc}: there are no wheels for it", why, remedy)
    elif (int(match[1]), int(match[2])) < least:
        remedy = "upgrade it to Debian 12, Ubuntu 22.04, Rocky Linux 9 or newer"
        yield Check("libc", _FAILED, f"{facts.libc} is too old", why, remedy)
    elif facts.os_id == "nixos":
        why = "the engine comes with a Python that looks for the linker where other distributions have it"
        yield Check("libc", _WARNING, f"{facts.libc} of NixOS", why, "set programs.nix-ld.enable = true; there")
    else:
        yield Check("libc", _PASSED, facts.libc, why)


def processor(facts: RemoteFacts, build: EngineBuild) -> Iterator[Check]:
    """What the CPU offers to an engine that runs on it."""
    if not build.on_cpu:
        return
    best = next((flag for flag in requirements.CPU_FLAGS if flag in facts.cpu_flags), None)
    why = "vLLM on a CPU needs AVX2, AVX-512 or NEON"
    cores = f"{facts.cpus or 'an unknown number of'} cores"
    if best:
        yield Check("cpu", _PASSED, f"{cores}, {best}", why)
    elif facts.cpu_flags:
        yield Check("cpu", _FAILED, f"{cores} without any of them", why, "lyc hosts add ADDRESS, of a newer machine")
    else:
        yield Check("cpu", _UNKNOWN, f"{cores}; their flags cannot be told", why, "$ grep -m 1 flags /proc/cpuinfo")


def memory(facts: RemoteFacts) -> Iterator[Check]:
    """Host memory. With cards it holds the engine itself and the weights on their way."""
    least = _MEMORY_ON_GPU if facts.accelerators else _LEAST_MEMORY
    why = f"an engine needs {show_bytes(least)} of host memory"
    total, available = facts.memory_total, facts.memory_available
    if total is None or available is None:
        yield Check("memory", _UNKNOWN, "it cannot be told", why, "$ free -m")
        return
    found = f"{show_bytes(available)} of {show_bytes(total)} available"
    if total < _LEAST_MEMORY:
        yield Check("memory", _FAILED, found, why, "lyc hosts add ADDRESS, of a machine with more memory")
    elif available < least:
        yield Check("memory", _WARNING, found, why, "$ ps -eo rss,pid,args --sort=-rss | head")
    else:
        yield Check("memory", _PASSED, found, why)


def home(facts: RemoteFacts) -> Iterator[Check]:
    """A home that can be written, for that is where the engine goes without root."""
    if facts.home_writable is False and facts.sudo != "free":
        why = "engine and weights are kept under the home of the user who logs in"
        remedy = f"$ sudo install -d -o {facts.user} -m 700 {facts.home}" if facts.home and facts.user else "$ ls -ld ~"
        yield Check("home", _FAILED, f"{facts.home or 'the home'} cannot be written", why, remedy)


def room(build: EngineBuild, weights: int, *, installed: bool) -> int:
    """Bytes that have to be free before a deploy: for the weights and the engine, unless it is there, and to spare."""
    return (0 if installed else requirements.installed_bytes(build)) + weights + _ROOM


def disk(facts: RemoteFacts, build: EngineBuild, weights: int, model: str, installed: bool = False) -> Iterator[Check]:
    """Room for the engine, unless it is installed, and, where a model is asked for, its weights."""
    engine = 0 if installed else requirements.installed_bytes(build)
    needed = room(build, weights, installed=installed)
    parts = [f"{show_bytes(engine)} for {build.id}"] if engine else []
    parts += [f"{show_bytes(weights)} for {model or 'the weights'}"] if weights else ["what the weights take"]
    why = f"{', '.join(parts)}, and {show_bytes(_ROOM)} to spare"
    place = facts.place
    if place is None:
        where = "/var/lib" if facts.sudo == "free" else facts.home or "the home"
        yield Check("disk", _UNKNOWN, f"the room in {where} cannot be told", why, "$ df -h")
        return
    found = f"{show_bytes(place.free)} free in {place.path}"
    if place.free >= needed:
        yield Check("disk", _PASSED, found, why)
        return
    roomy = max((d for d in facts.disks if d.free >= needed), key=lambda d: d.free, default=None)
    if roomy is not None:
        found += f", {show_bytes(roomy.free)} in {roomy.path}"
    remedy = f"$ du -xhd 2 {place.path} | sort -h | tail"
    # An engine that is there already takes no more room, and that cannot be told from free space alone.
    state = _FAILED if installed or place.free < weights + _ROOM or place.total < needed else _WARNING
    yield Check("disk", state, found + _moved(roomy, place, system=facts.sudo == "free"), why, remedy)


def runtime(facts: RemoteFacts, build: EngineBuild) -> Iterator[Check]:
    """A container runtime that this user may use, and one that can hand out cards where there are some."""
    why = "engines in containers need Docker or Podman, and with cards NVIDIA's container toolkit"
    usable = {**(facts.runtimes_denied if facts.sudo == "free" else {}), **facts.runtimes}  # root may use them all
    if not usable:
        denied = next(iter(facts.runtimes_denied), "")
        found = f"{denied} is not for this user" if denied else "neither docker nor podman is there"
        user = facts.user or "USER"
        remedy = f"$ sudo usermod -aG docker {user}" if denied == "docker" else install_words(facts.os_id, "podman")
        yield Check("runtime", _FAILED, found, why, remedy)
        return
    told = ", ".join(f"{name} {facts.runtimes.get(name, '')}".strip() for name in usable)
    if not build.on_cpu and facts.toolkit is None:
        remedy = "$ nvidia-ctk --version"
        yield Check("runtime", _WARNING, f"{told}; NVIDIA's container toolkit was not found", why, remedy)
    else:
        yield Check("runtime", _PASSED, told, why)


def tools(facts: RemoteFacts, build: EngineBuild) -> Iterator[Check]:
    """Programs and libraries that are not part of the engine's environment."""
    wanted = {"tar": "tar", "gzip": "gzip", "sha256sum": "coreutils"}
    reasons = ["files are unpacked and verified with tar, gzip and sha256sum"]
    if build.on_cpu:
        wanted["libnuma.so.1"] = "libnuma1" if facts.os_id in ("debian", "ubuntu") else "numactl-libs"
        reasons.append("the CPU engine is linked against libnuma")
    absent = [tool for tool in wanted if tool in facts.missing]
    packages = [wanted[tool] for tool in absent]
    if not build.on_cpu and {"cc", "gcc", "clang"} <= set(facts.missing):
        absent.append("a C compiler")
        packages.append("gcc")
    if not build.on_cpu:
        reasons.append("Triton compiles launchers with the system's C compiler while the engine runs")
    why = "; ".join(reasons)
    if absent:
        yield Check(
            "tools", _FAILED, f"missing: {', '.join(absent)}", why, install_words(facts.os_id, " ".join(packages))
        )
    else:
        yield Check("tools", _PASSED, "all that are needed", why)


def rights(facts: RemoteFacts) -> Iterator[Check]:
    """Root or not: what follows is how engines are kept running."""
    why = "with root, engines become systemd units with users of their own; without, they run as this user"
    if facts.sudo == "free":
        yield Check(
            "rights", _PASSED, "root" if facts.user == "root" else f"{facts.user}, sudo without a password", why
        )
        return
    found = (
        f"{facts.user or 'this user'}, sudo {'asks for a password' if facts.sudo == 'password' else 'is not allowed'}"
    )
    rule = f"{facts.user or 'USER'} ALL=(ALL) NOPASSWD: ALL"
    yield Check("rights", _WARNING, found, why, f"as root there: echo '{rule}' > /etc/sudoers.d/lyc")


def supervision(facts: RemoteFacts) -> Iterator[Check]:
    """systemd or not: what follows is whether engines come back after a reboot by themselves."""
    why = "systemd starts engines again after a reboot; without it, lyc does when it can reach the host"
    if facts.systemd is None:
        remedy = "nothing needs to be done; a distribution with systemd would bring engines back sooner"
        yield Check("systemd", _WARNING, "PID 1 is not systemd", why, remedy)
    elif facts.systemd < requirements.SYSTEMD:
        why = f"units get their secrets by LoadCredential=, which systemd {requirements.SYSTEMD} brought"
        yield Check("systemd", _WARNING, f"version {facts.systemd}", why, "upgrade the distribution")
    else:
        yield Check("systemd", _PASSED, f"version {facts.systemd}", why)


def clock(facts: RemoteFacts) -> Iterator[Check]:
    """Whether the host's clock agrees with ours."""
    why = "credentials, certificates and leases are refused by a clock that is wrong"
    if facts.clock_skew is None:
        yield Check("clock", _UNKNOWN, "its time cannot be told", why, "$ date")
        return
    off = abs(facts.clock_skew)
    way = "ahead of" if facts.clock_skew > 0 else "behind"
    found = "it agrees with ours" if off < 1 else f"{show_duration(off)} {way} ours"
    if off < _SKEW_WARNING:
        yield Check("clock", _PASSED, found, why)
        return
    systemd = "$ sudo timedatectl set-ntp true"
    remedy = systemd if facts.systemd is not None else "$ sudo ntpd -n -q -p pool.ntp.org"
    yield Check("clock", _FAILED if off > _SKEW_FAILED else _WARNING, found, why, remedy)


def reach(facts: RemoteFacts) -> Iterator[Check]:
    """Whether the host can fetch the engine and the weights itself."""
    why = "from there the host fetches the engine and the weights; what it cannot fetch must be pushed over SSH"
    if not facts.reaches:
        yield Check("network", _UNKNOWN, "nothing there could ask (no curl, wget or nc)", why, _install_curl(facts))
        return
    closed = [url for url, answered in facts.reaches.items() if not answered]
    if closed:
        remedy = f"$ curl -sSI {closed[0]}"
        yield Check("network", _WARNING, f"no answer from {', '.join(closed)}", why, remedy)
    else:
        yield Check("network", _PASSED, ", ".join(facts.reaches), why)


def _install_curl(facts: RemoteFacts) -> str:
    return install_words(facts.os_id, "curl")


def _moved(roomy: Disk | None, place: Disk, *, system: bool) -> str:
    if roomy is None or roomy.path == place.path:
        return ""
    return " (mounted at /var/lib/lyc it would do)" if system else f" (a home on {roomy.path} would do)"
