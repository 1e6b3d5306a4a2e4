"""Every error that a user of lyc can meet. This module imports nothing of lyc, so all of lyc may import it.

    LycError                 exit  retry
    ├── Failed                  1  NEVER      the thing was tried and did not work
    │   ├── NotFound            1  NEVER      no such deployment, key, replica …
    │   └── EngineFailed        1  NEVER      the engine said no, or died
    ├── UsageError              2  NEVER      a flag or argument is wrong
    ├── SpecError               3  NEVER      the model, lyc.toml or a wish in it cannot be served as written
    ├── NotAuthorised           4  NEVER      a credential is missing, wrong or not enough
    ├── NoFit                   5  ELSEWHERE  nothing fits, or no capacity
    ├── Unreachable             6  LATER      a host, hub, bucket or controller does not answer
    ├── Locked                  7  LATER      another run holds it
    ├── Pending                 8  LATER      not there yet (`--no-wait`, or the wait ran out)
    ├── Bug                    70  NEVER      lyc broke its own contract
    └── Interrupted           130  NEVER      Ctrl-C

An error is a value with a name: `ref` is kebab-case and stable (scripts may match on it, never on the text).
It is raised at the edge, where a vendor's error is translated, and shown in one place (`lyc.cli.output`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any, ClassVar

_REF = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")


class Retry(enum.Enum):
    """What the caller may do next: nothing, wait, or try another offer."""

    NEVER = "never"
    LATER = "later"
    ELSEWHERE = "elsewhere"


class LycError(Exception):
    """An error with a name.

    Args:
        ref: kebab-case name of the error, stable across releases.
        what: one sentence, what happened; no trailing period needed.
        why: the cause, if known.
        where: `file:line`, the flag, or the key at fault.
        hint: the command to type next, or the two ways out.
        detail: decisive log lines or a list of reasons, shown verbatim.

    No argument may ever hold a secret.
    """

    exit_code: ClassVar[int] = 1
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(
        self,
        ref: str,
        what: str,
        *,
        why: str = "",
        where: str = "",
        hint: str = "",
        detail: tuple[str, ...] = (),
    ) -> None:
        if not _REF.match(ref):
            raise ValueError(f"error ref {ref!r} is not kebab-case")
        super().__init__(what)
        self.ref = ref
        self.what = what
        self.why = why
        self.where = where
        self.hint = hint
        self.detail = tuple(detail)

    def document(self) -> dict[str, Any]:
        """The error as one JSON object: `kind, ref, what, why, where, hint, detail, exit_code, retry`."""
        return {
            "kind": type(self).__name__,
            "ref": self.ref,
            "what": self.what,
            "why": self.why,
            "where": self.where,
            "hint": self.hint,
            "detail": list(self.detail),
            "exit_code": self.exit_code,
            "retry": self.retry.value,
        }

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why and f"({self.why})") if part)


class Failed(LycError):
    """The thing was tried and did not work."""


class NotFound(Failed):
    """No such deployment, release, replica or key."""


class EngineFailed(Failed):
    """The engine refused to start, or died."""


class UsageError(LycError):
    """A flag or an argument is wrong."""

    exit_code = 2


class SpecError(LycError):
    """The model, lyc.toml or a wish in it cannot be served as written."""

    exit_code = 3


class NotAuthorised(LycError):
    """A credential is missing, wrong, or allows too little."""

    exit_code = 4


class NoFit(LycError):
    """Nothing fits, or nobody has capacity."""

    exit_code = 5
    retry = Retry.ELSEWHERE


class Unreachable(LycError):
    """A host, hub, bucket or controller does not answer."""

    exit_code = 6
    retry = Retry.LATER


class Locked(LycError):
    """Another run holds what this one needs."""

    exit_code = 7
    retry = Retry.LATER


class Pending(LycError):
    """Not there yet; asking again later is the right thing."""

    exit_code = 8
    retry = Retry.LATER


class Bug(LycError):
    """lyc broke its own contract; please report it."""

    exit_code = 70


class Interrupted(LycError):
    """The user pressed Ctrl-C."""

    exit_code = 130


KINDS: Mapping[str, type[LycError]] = {
    cls.__name__: cls
    for cls in (
        Failed, NotFound, EngineFailed, UsageError, SpecError, NotAuthorised, NoFit, Unreachable, Locked, Pending,
        Bug, Interrupted,
    )
}  # fmt: skip


def from_document(document: Mapping[str, Any]) -> LycError:
    """The error that `LycError.document` wrote; an unknown kind (a newer controller) becomes `Failed`."""
    cls = KINDS.get(str(document.get("kind")), Failed)
    return cls(
        str(document.get("ref") or "unknown-error"),
        str(document.get("what") or "an error without a text"),
        why=str(document.get("why") or ""),
        where=str(document.get("where") or ""),
        hint=str(document.get("hint") or ""),
        detail=tuple(str(line) for line in document.get("detail") or ()),
    )
