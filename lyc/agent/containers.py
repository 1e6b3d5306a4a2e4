"""Engines in containers of the Docker or Podman that is there: the command of the client, which runs in the foreground.

Whoever keeps processes keeps that client: its output is the engine's, SIGTERM reaches the engine through it, and it
ends with the engine. A client that was killed leaves its container behind; so whoever starts, stops or buries a replica
removes what has its name (`lyc-<id>`), whatever became of the client.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lyc.agent import cards
from lyc.agent.answer import Refused
from lyc.agent.folder import Document, Folder, write
from lyc.agent.root import ACCOUNT, Root
from lyc.agent.shimmed import account

SHARED_MEMORY = "16g"
"""How large /dev/shm may become. Processes of one engine hand tensors over through it, and the 64 MiB that a container
gets are too few. It is a limit and no reservation; sharing the host's own (`--ipc host`) would let every process of the
host in.
"""
LABEL = "eu.lyc.root"
CALL_SECONDS, GONE_SECONDS = 60.0, 20.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_CDI = ("/etc/cdi", "/var/run/cdi")
_REAPERS = (
    "/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/libexec/catatonit/catatonit",
    "/usr/bin/catatonit",
)  # fmt: skip
"""Where Podman finds what `--init` starts; Docker brings its own."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """kind: docker | podman. program: its absolute path. rootless: containers are in a user namespace of ours."""

    kind: str
    program: str
    rootless: bool = False
    reaper: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """What a container is to be. read, written: files and folders of the host, at the same paths within.

    user: `uid:gid`. cards: numbers of NVIDIA's, as nvidia-smi counts. nodes: devices of other makers, groups: their
    numbers. argv: its first word is a program of the image.
    """

    name: str
    image: str
    argv: tuple[str, ...]
    user: str
    environment: Path
    root: Path
    read: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    cards: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()


def command(runtime: Runtime, box: Box) -> list[str]:
    """The client's argv. Pure. Holds no value of the environment, which is a file.

    The network is the host's: the engine listens on its loopback, as it does without a container. Labels of SELinux
    are left out, for what it reads belongs to several containers. The log is whoever's the client is, and no second
    one is kept, and Podman's events do not go to the journal of the client. Podman would also limit the number of
    threads to 2048, too few for an engine on many cores, and wait when a container is removed that was left behind.
    """
    podman = runtime.kind == "podman"
    words = [runtime.program, *(("--events-backend", "file") if podman else ()), "run", "--rm", "--pull", "never"]
    words += ["--name", box.name, "--label", f"{LABEL}={box.root}"]
    words += ["--network", "host", "--read-only", "--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777"]  # noqa: S108
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    words += ["--shm-size", SHARED_MEMORY, "--log-driver", "none", "--user", box.user]
    words += ["--init"] if runtime.reaper else []
    words += ["--userns", "keep-id"] if runtime.rootless else []
    words += ["--pids-limit", "-1"] if podman and not runtime.rootless else []
    words += ["--sdnotify", "ignore", "--stop-timeout", "0"] if podman else []
    words += [word for path in box.read for word in ("--volume", f"{path}:{path}:ro")]
    words += [word for path in box.written for word in ("--volume", f"{path}:{path}")]
    if box.cards and podman:
        words += [word for number in box.cards for word in ("--device", f"nvidia.com/gpu={number}")]
    elif box.cards:
        words += ["--gpus", f'"device={",".join(map(str, box.cards))}"']  # quoted for Docker, which splits at commas
    words += [word for node in box.nodes for word in ("--device", node)]
    words += [word for group in box.groups for word in ("--group-add", str(group))]
    words += ["--env-file", str(box.environment), "--workdir", "/tmp"]  # noqa: S108 - in the container
    return [*words, "--entrypoint", box.argv[0], box.image, *box.argv[1:]]


def put(root: Root, folder: Folder, spec: Document, secrets: Mapping[str, str]) -> Document:
    """Write what its container needs → `spec` with the `runtime` to ask, `run` and `run_env` to
    begin it with, and `after` for its end.

    Raises Refused `no-container-runtime`, `no-cards-in-containers`, `no-such-card`, `no-image`, `env-not-one-line`.
    """
    own = cards.granted(spec["devices"])
    chosen = numbers(spec["devices"])
    found = runtime(cards=bool(chosen))
    if inspect(found, spec["image"]) is None:
        raise Refused(
            "no-image", f"the image {spec['image']} is not on this host", why=f"{found.kind} does not know it",
            hint="deploy again, which pulls it",
        )  # fmt: skip
    user, group = account()
    user, group = os.geteuid() if user is None else user, os.getegid() if group is None else group
    home = folder.path / "home"
    folder.path.mkdir(mode=0o700, exist_ok=True)
    folder.path.chmod(0o700)
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, user, group)
    for name, content in secrets.items():
        write(folder.path / name, content, mode=0o400, user=user, group=group)
    env = spec["env"] | {"HOME": str(home), "USER": ACCOUNT, "LOGNAME": ACCOUNT}
    env |= cards.variables(spec["devices"], confined=True)
    write(folder.path / "environment", environment(env))
    for place in (root.store, root.compiled):
        place.mkdir(parents=True, exist_ok=True)
    box = Box(
        container(folder), spec["image"], tuple(spec["argv"]), f"{user}:{group}",
        environment=folder.path / "environment", root=root.path,
        read=(root.store, *(folder.path / one for one in sorted(secrets))), written=(root.compiled, home), cards=chosen,
        nodes=() if chosen else own.devices, groups=tuple(grp.getgrnam(one).gr_gid for one in own.groups),
    )  # fmt: skip
    return spec | {
        "runtime": found.program, "run": command(found, box), "run_env": client_environment(),
        "after": [found.program, "rm", "--force", box.name],
    }  # fmt: skip


def environment(env: Mapping[str, str]) -> str:
    """The text of an environment file, which knows no quotes. Raises Refused `env-not-one-line`."""
    for key, value in env.items():
        if re.search(r"[\r\n\0]", value):
            raise Refused(
                "env-not-one-line", f"the variable {key} cannot be given to a container",
                why="its value has more than one line", hint="lyc deploy … --runtime process",
            )  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in env.items())


def container(folder: Folder) -> str:
    """Of the container of a replica."""
    return f"lyc-{folder.identity}"


def runtime(*, cards: bool) -> Runtime:
    """The one to use: Docker before Podman, but first one that can hand out cards, if there shall be some.

    Raises Refused `no-container-runtime`, `no-cards-in-containers`.
    """
    found, said = [], "neither docker nor podman is there"
    if (docker := shutil.which("docker", path=_PATH)) and not _is_podman(docker):
        done = call([docker, "version", "--format", "{{.Server.Version}}"])
        if done.returncode == 0:
            found.append(Runtime("docker", docker))
        else:
            said = (done.stderr.strip().splitlines() or ["docker's daemon does not answer"])[-1]
    if podman := shutil.which("podman", path=_PATH):
        reaper = any(map(os.path.exists, _REAPERS))
        found.append(Runtime("podman", podman, rootless=os.geteuid() != 0, reaper=reaper))
    if not found:
        raise Refused(
            "no-container-runtime", "this host has no Docker and no Podman that lyc may use", why=said,
            hint="lyc hosts check NAME, or: lyc deploy … --runtime process",
        )  # fmt: skip
    able = [one for one in found if not cards or _hands_out_cards(one)]
    if not able:
        raise Refused(
            "no-cards-in-containers", f"{found[0].kind} cannot give this host's cards to a container",
            why="NVIDIA's container toolkit is not there, or not set up",
            hint="lyc hosts ssh NAME -- sudo nvidia-ctk "
            + ("runtime configure" if found[0].kind == "docker" else "cdi generate --output=/etc/cdi/nvidia.yaml"),
        )  # fmt: skip
    return able[0]


def inspect(found: Runtime, image: str) -> dict[str, Any] | None:
    """What the runtime knows of an image; None where it is not there."""
    done = call([found.program, "image", "inspect", image])
    with contextlib.suppress(ValueError):
        known = json.loads(done.stdout) if done.returncode == 0 else []
        if known and isinstance(known[0], dict):
            return dict(known[0])
    return None


def remove(folder: Folder, spec: Document | None) -> None:
    """Nothing of its container is left when this returns. Nothing happens where there is none.

    Raises Refused `container-not-removed`.
    """
    if spec is not None and (known := spec.get("runtime")):
        _removed(str(known), f"name=^{container(folder)}$")


def remove_others(root: Root, spec: Document, kept: Callable[[str], bool]) -> None:
    """Of containers that this root ever began with that runtime, only those of replicas that are `kept` stay: for what
    was left behind where a client and all who watched it were killed.
    """
    program = str(spec["runtime"])
    done = call([program, "ps", "--all", "--filter", f"label={LABEL}={root.path}", "--format", "{{.Names}}"])
    for one in done.stdout.split():
        if not kept(one.removeprefix("lyc-")):
            _removed(program, f"name=^{one}$")


def client_environment() -> dict[str, str]:
    """For docker and podman themselves: where they look for their configuration, and nothing of the engine's."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    proxies = {key: value for key, value in os.environ.items() if key.upper() in _PROXIES}
    return {"PATH": _PATH, "HOME": home, "LC_ALL": "C.UTF-8"} | proxies


def _removed(program: str, wanted: str) -> None:
    end, said = time.monotonic() + GONE_SECONDS, ""
    while True:
        there = call([program, "ps", "--all", "--quiet", "--filter", wanted])
        if there.returncode == 0 and not there.stdout.split():
            return
        said = there.stderr
        if time.monotonic() > end:
            break
        if there.returncode == 0:
            said = call([program, "rm", "--force", *there.stdout.split()]).stderr or said
        else:
            time.sleep(0.5)
    raise Refused(
        "container-not-removed", "a container does not go away", why=(said.strip().splitlines() or [""])[-1],
        hint=f"{program} ps --all --filter {wanted}",
    )  # fmt: skip


def numbers(devices: Sequence[int] | None) -> tuple[int, ...]:
    """Of NVIDIA's cards that it gets; None = all that there are."""
    if not (there := cards.nvidia_minors(Path("/proc"))):
        return ()
    return tuple(range(len(there)) if devices is None else devices)


def _hands_out_cards(found: Runtime) -> bool:
    if found.kind == "docker":
        hooks: Iterable[str] = ("nvidia-container-runtime-hook", "nvidia-container-runtime", "nvidia-container-toolkit")
        return any(shutil.which(hook, path=_PATH) for hook in hooks)
    return any(next(Path(place).glob("nvidia*"), None) for place in _CDI)


def _is_podman(program: str) -> bool:
    """Podman under Docker's name."""
    return "podman" in call([program, "--version"]).stdout.lower()


def call(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A client of containers, to its end. 124 where it does not answer."""
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=CALL_SECONDS,
            check=False, env=client_environment(), cwd="/",
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess(argv, 124, "", f"{Path(argv[0]).name} does not answer: {error}")
