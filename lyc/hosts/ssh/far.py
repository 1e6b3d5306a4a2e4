"""What runs at the far side: the one place where an argv is quoted, and the frame that tells how it ended. Pure.

`ssh host COMMAND` hands one string to the user's login shell there, which may be fish or csh, and answers 255 both
for a lost connection and for a command that ends with 255. So COMMAND is the same few words for everything, in a
form that every shell reads alike; it starts `/bin/sh`, which reads one line of script from stdin. That script says on
stderr when the command begins and with what status it ended, in words that no other run can say. stdin stays open
meanwhile: its end tells the far side that nobody waits any longer, and the process group (sshd gives each command
its own) is ended.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lyc.errors import UsageError

_SHELL = "/bin/sh -c 'read -r lyc_line && eval \"$lyc_line\"'"
"""No argument travels in it, so there is no limit of 128 KiB (Linux, MAX_ARG_STRLEN), and nothing of a command shows
in this machine's process list.
"""
GRACE_SECONDS = 3


def login_command(prefix: Sequence[str] = ()) -> str:
    """What is handed to the login shell. prefix: words before all that runs there, `("sudo", "-n", "--")`, so that the
    shell that ends a command has the command's rights. Raises UsageError `invalid-argument` for a word that would need
    quotes.
    """
    if any(not re.fullmatch(r"[\w./=-]+", word) for word in prefix):
        raise UsageError("invalid-argument", f"{shlex.join(prefix)} cannot stand before commands")
    return " ".join(("exec", *prefix, _SHELL))


_WATCH = (
    # After EOF: if the script lives, so does its command. `kill 0` is the own process group, whatever its number.
    "{ cat >/dev/null; kill -0 $$ && { trap '' TERM; kill -TERM 0; "
    f"sleep {GRACE_SECONDS}; kill -KILL 0; }}; }} <&3 >/dev/null 2>&1 &"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One run of a command: `header` goes first on stdin; `read` finds the marks of the same run on stderr."""

    header: bytes
    nonce: str

    def read(self, stderr: bytes) -> tuple[bool, int | None, bytes]:
        """Whether it began, its exit status if it ended, and its own stderr between the two marks."""
        _, begun, rest = stderr.partition(f"lyc-{self.nonce}-begin\n".encode())
        ended = re.search(rf"\nlyc-{self.nonce}-end (\d+)\n".encode(), rest)
        return bool(begun), int(ended[1]) if ended else None, rest[: ended.start()] if ended else rest


def frame(argv: Sequence[str], *, stdin: int | None = 0, merged: bool = False) -> Frame:
    """The script of one command.

    stdin: how many bytes follow for it, after which stdin stays open; None = all until its end, which the command
    must be able to tell from a lost connection by itself. merged: its stderr goes into stdout, in order.
    A death by signal N is reported as 128 + N, as shells do. Raises UsageError `invalid-argument`.
    """
    nonce = secrets.token_hex(8)
    command = f"{quoted(argv)}{' 2>&1' if merged else ''}"
    if stdin is None:
        run = command
    elif stdin == 0:
        run = f"exec 3<&0; {_WATCH} {command} 3<&- </dev/null"
    else:
        run = f"exec 3<&0; {{ head -c {stdin} <&3; {_WATCH} }} 2>/dev/null | {command} 3<&-"
    script = (
        # The marks are put together there, so that a list of processes or a trace does not contain them.
        f"lyc_mark=lyc-{nonce}; {_NEWLINE if chr(10) in command else ''}printf '%s-begin\\n' $lyc_mark >&2; {run}; "
        "lyc_code=$?; printf '\\n%s-end %d\\n' $lyc_mark $lyc_code >&2; exit 0"
    )
    return Frame(header=script.replace("\n", "'\"$lyc_nl\"'").encode("utf-8", "surrogateescape") + b"\n", nonce=nonce)


_NEWLINE = "lyc_nl=$(printf '\\nx'); lyc_nl=${lyc_nl%x}; "
"""The script is one line; a newline, which `quoted` leaves only inside of single quotes, is made over there."""


def quoted(argv: Sequence[str]) -> str:
    """argv in POSIX shell. Raises UsageError `invalid-argument` for a NUL, which no argument can hold, and for none."""
    if not argv:
        raise UsageError("invalid-argument", "there is no command to run")
    for word in argv:
        if "\0" in word:
            raise UsageError("invalid-argument", f"the argument {word!r} holds a NUL character")
    return " ".join(shlex.quote(word) for word in argv)
