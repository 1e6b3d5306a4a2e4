"""What the host says of itself: its system, this account's rights, container runtimes, tools, clock, reach. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lyc.hosts.look.sections import Section

_ADMINISTRATORS = frozenset({"sudo", "wheel", "admin", "root"})


def release(section: Section) -> tuple[str, str]:
    """(the name that the system gives itself, its id) of `/etc/os-release`; empty where they are not said."""
    found = re.findall(r"""^(\w+)=(?:"([^"\n]*)"|'([^'\n]*)'|([^"'\n]*))\s*$""", section.text, re.MULTILINE)
    fields = {name: double or single or bare for name, double, single, bare in found}
    name = fields.get("PRETTY_NAME") or " ".join(filter(None, (fields.get("NAME"), fields.get("VERSION_ID"))))
    return name, fields.get("ID", "")


def libc(section: Section) -> str | None:
    """`glibc 2.36`, `musl 1.2.4`, `musl` where its version is not told."""
    text = section.text
    if match := re.search(r"^glibc (\d+\.\d+)", text, re.MULTILINE):
        return f"glibc {match[1]}"
    if re.search(r"^(?:musl libc|/lib/ld-musl-)", text, re.MULTILINE):
        version = re.search(r"^Version (\d+(?:\.\d+)+)", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    if match := re.search(r"^ldd \(.*\) (\d+\.\d+)", text, re.MULTILINE):
        return f"glibc {match[1]}"
    return None


def systemd(section: Section) -> int | None:
    """Its version where it is PID 1."""
    match = re.search(r"^systemd (\d+)", section.text, re.MULTILINE)
    return int(match[1]) if match else None


def container(section: Section) -> str | None:
    """`docker`, `podman`, `lxc` … when the host itself is one."""
    return next((line for line in section.lines if re.fullmatch(r"[a-z][a-z0-9-]*", line) and line != "none"), None)


def sudo(section: Section, identity: Mapping[str, str]) -> str:
    """none | password | free, `free` also for root, who needs none."""
    if identity.get("uid") == "0" or section.code == 0:
        return "free"
    if section.absent or re.search(r"not in the sudoers|not allowed|may not run", section.text):
        return "none"
    if re.search(r"password|terminal", section.text):
        return "password"
    return "password" if _ADMINISTRATORS & set(identity.get("groups", "").split()) else "none"


def runtimes(docker: Section, podman: Section) -> tuple[dict[str, str], dict[str, str]]:
    """(usable → version, not usable → why) of docker and podman."""
    usable: dict[str, str] = {}
    denied: dict[str, str] = {}
    if match := re.search(r"^podman version (\S+)", podman.text, re.MULTILINE):
        usable["podman"] = match[1]
    if docker.absent or re.search(r"^podman version", docker.text, re.MULTILINE):  # podman under docker's name
        return usable, denied
    client = re.search(r"^Docker version ([\w.+~-]+)", docker.text, re.MULTILINE)
    server = re.search(r"^server (\d\S*)", docker.text, re.MULTILINE)
    if docker.code == 0 and server:
        usable["docker"] = server[1]
    elif client:
        said = [line for line in docker.lines if not line.startswith(("Docker version", "server", "Emulate"))]
        denied["docker"] = said[-1] if said else "its daemon does not answer"
    return usable, denied


def toolkit(section: Section) -> str | None:
    """Version of the NVIDIA container toolkit."""
    match = re.search(r"version (\d+\.\d+\.\d+)", section.text)
    return match[1] if match and section.code == 0 else None


def missing(section: Section) -> tuple[str, ...]:
    """What the probe looked for and did not find."""
    return tuple(name for name, found in section.values().items() if found == "no")


def skew(begin: Section, end: Section, sent: float, received: float) -> float | None:
    """The host's clock minus ours in seconds: the least difference that explains what was told.

    sent, received: our clock before and after. The probe began after `sent` and ended before `received`, which bounds
    the difference from both sides; what lies between the bounds is the time on the way, and no difference of clocks.
    """
    first, last = _epoch(begin), _epoch(end)
    if first is None or last is None:
        return None
    least, most = last - received, first - sent
    return min(max(0.0, least), max(most, least))


def reaches(section: Section, urls: Sequence[str]) -> dict[str, bool]:
    """URL → whether it answered, whatever it answered. One that nothing could ask is left out."""
    found: dict[str, bool] = {}
    for number, means, status in re.findall(r"^(\d+) (curl|wget|tcp) (\d+)$", section.text, re.MULTILINE):
        if int(number) < len(urls):
            # wget ends with 8 when the server answered with an error: it did answer.
            found[urls[int(number)]] = status == "0" or (means == "wget" and status == "8")
    return {url: found[url] for url in urls if url in found}


def _epoch(section: Section) -> float | None:
    """`date +%s.%N`; a date without nanoseconds prints a letter after the dot, and is half a second late on average."""
    match = re.search(r"^(\d{6,})(?:\.(\d+))?", section.text, re.MULTILINE)
    if match is None:
        return None
    return float(f"{match[1]}.{match[2]}") if match[2] else float(match[1]) + 0.5
