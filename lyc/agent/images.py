"""`image`: an image of a container engine, there before anything is started; pulled if it is not, and pinned."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from lyc.agent import containers
from lyc.agent.answer import Refused, read_request, say
from lyc.agent.containers import Runtime
from lyc.agent.folder import read
from lyc.agent.root import Root
from lyc.agent.shim import write_atomically

RECORD = "images.json"
"""Below the root: the program of a runtime → images that were pulled by it."""
LAST_LINES = 12
SAY_SECONDS = 0.5
_REASONS = (
    (
        "Failed", "no-space", r"no space left",
        "the disk is full where images are kept", "lyc hosts prune NAME",
    ),
    (
        "Unreachable", "registry-unreachable",
        r"connection refused|no such host|network is unreachable|no route to host|i/o timeout|server misbehaving",
        "the host does not reach its registry", "load it there yourself: docker load, or podman load",
    ),
    (
        "NotAuthorised", "image-denied", r"unauthorized|denied|authentication required|forbidden|\b401\b|\b403\b",
        "its registry does not let this host in, or has no such image", "docker login, or podman login, on the host",
    ),
    (
        "NotFound", "no-such-image", r"manifest unknown|not found|no such|name unknown|does not exist|\b404\b",
        "its registry has no image of that name and tag", "lyc deploy … --image REF",
    ),
)  # fmt: skip
"""What the clients say in words alone: neither has a code for it."""


def image(root: Root, arguments: Sequence[str]) -> dict[str, Any]:
    """stdin `{"image", "cards": bool}` → lines `{"t": "progress", "text"}`, then `{"image", "runtime", "pulled"}`: the
    same image by digest, or by its id where it came from no registry. cards: whether it shall get NVIDIA's.

    Raises Refused `no-container-runtime`, `no-cards-in-containers`, `no-such-image`, `image-denied`, `no-space`,
    `registry-unreachable`, `image-not-pulled`.
    """
    request = read_request()
    wanted = request.get("image")
    if arguments or not isinstance(wanted, str) or not re.fullmatch(r"[A-Za-z0-9][\w.:/@+-]*", wanted):
        raise Refused("bad-request", "'image' of the request is not what it should be")
    found = containers.runtime(cards=bool(request.get("cards") and containers.numbers(None)))
    for name in (wanted, qualified(wanted)):
        if known := containers.inspect(found, name):
            return {"image": pinned(found, name, known), "runtime": found.kind, "pulled": False}
    _remember(root, found, qualified(wanted))  # before, so that nothing stays unknown when this is killed
    _pull(found, qualified(wanted))
    known = containers.inspect(found, qualified(wanted))
    if known is None:
        raise Refused("image-not-pulled", f"{found.kind} pulled {wanted}, and does not know it")
    return {"image": pinned(found, qualified(wanted), known), "runtime": found.kind, "pulled": True}


def remove_pulled(root: Root) -> None:
    """What `image` pulled, and was not there before it. What a container of somebody else needs stays."""
    for program, names in (read(root.path / RECORD) or {}).items():
        for name in names:
            containers.call([program, "image", "rm", name])


def _remember(root: Root, found: Runtime, name: str) -> None:
    there = read(root.path / RECORD) or {}
    write_atomically(root.path / RECORD, there | {found.program: sorted({*there.get(found.program, ()), name})})


def qualified(image: str) -> str:
    """With its registry: Docker assumes its own where none is named, and Podman asks a person."""
    first, slash, _ = image.partition("/")
    if slash and (re.search(r"[.:]", first) or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def pinned(found: Runtime, name: str, known: dict[str, Any]) -> str:
    """What names this very image for good."""
    repository = re.sub(r"(:[\w.-]+)?(@.*)?$", "", name)
    digests = [str(one) for one in known.get("RepoDigests") or ()]
    ours = [one for one in digests if qualified(one).startswith(f"{qualified(repository)}@")]
    return next((one for one in ours if containers.inspect(found, one)), str(known["Id"]))


def _pull(found: Runtime, name: str) -> None:
    argv = [found.program, "pull", name]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=containers.client_environment(), cwd="/",
    ) as process:  # fmt: skip
        lines: list[str] = []
        spoke = 0.0
        try:
            for line in process.stdout or ():
                lines = [*lines[1 - LAST_LINES :], line.strip()]
                if time.monotonic() - spoke >= SAY_SECONDS:
                    spoke = time.monotonic()
                    say({"t": "progress", "text": line.strip()[:200]})
        except BrokenPipeError:
            process.terminate()  # what it has stays, and the next pull goes on from there
            raise
        if process.wait() == 0:
            return
    text = "\n".join(lines)
    for kind, ref, pattern, why, hint in _REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            what = f"the image {name} cannot be pulled"
            raise Refused(ref, what, why=why, hint=hint, detail=lines, kind=kind)
    hint = "lyc hosts check NAME"
    raise Refused(
        "image-not-pulled",
        f"the image {name} cannot be pulled",
        why=lines[-1] if lines else "",
        hint=hint,
        detail=lines,
    )
