"""Sends the probe to a host and reads its answer: one command, one round trip."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lyc.errors import Failed
from lyc.hosts.look.facts import parse
from lyc.hosts.look.sections import split
from lyc.ports import Remote
from lyc.records.host import RemoteFacts

SECONDS = 60.0
"""Longest look. Each part that may hang ends by itself after 5 to 15 s, but for what the kernel will not let go."""
_SCRIPT = Path(__file__).with_name("probe.sh")
_SHOWN = 8


def look(remote: Remote, urls: Sequence[str], clock: Callable[[], float]) -> RemoteFacts:
    """What the host is and has, now. Changes nothing there.

    urls: what the host is asked to reach; credentials in them are left out. Raises what `Remote.run` raises, and Failed
    `host-shell-odd` when no shell ran the probe or it did not end.
    """
    nonce = secrets.token_hex(8)
    bare = [without_credentials(url) for url in urls]
    # The first command opens the connection, which takes long and would count as a difference of the clocks.
    remote.run(["true"], timeout=SECONDS, check=False)
    sent = clock()
    done = remote.run(["sh", "-s", "--", nonce, *bare], stdin=_SCRIPT.read_bytes(), timeout=SECONDS, check=False)
    received = clock()
    output = done.stdout.decode(errors="replace")
    sections = split(output, nonce)
    if not sections.whole:
        said = (output[-2000:] if not sections.begun else "") + done.stderr.decode(errors="replace")
        raise Failed(
            "host-shell-odd",
            "the host does not run commands as a shell does"
            if not sections.begun
            else "the look at the host broke off",
            why=f"`sh` ended with {done.code}",
            hint="log in by hand and see what happens: ssh … sh -c 'echo ok'",
            detail=tuple(line for line in said.splitlines() if line.strip())[-_SHOWN:],
        )
    return parse(sections, bare, sent=sent, received=received)


def without_credentials(url: str) -> str:
    """`https://user:token@host/simple` → `https://host/simple`: it stands in an argv there."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
