"""How the agent answers: lines of JSON on stdout; the last one is the result, or why there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

REFUSED = 3
"""Exit status after a refusal, whose document is the last line: `{"error": {…}}` as `lyc.errors.LycError.document`."""


class Refused(Exception):
    """One clear error. The words are those of `lyc.errors.LycError`; kind names its class there."""

    def __init__(
        self,
        ref: str,
        what: str,
        *,
        why: str = "",
        where: str = "",
        hint: str = "",
        detail: Sequence[str] = (),
        kind: str = "Failed",
    ) -> None:
        super().__init__(what)
        words = {"kind": kind, "ref": ref, "what": what, "why": why, "where": where, "hint": hint}
        self.document: dict[str, Any] = words | {"detail": list(detail)}


def say(document: dict[str, Any]) -> None:
    """One line, at once: whoever listens sees it now. Raises BrokenPipeError when nobody does any more."""
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def read_request() -> dict[str, Any]:
    """The one JSON document on stdin. Raises Refused `bad-request`."""
    try:
        document = json.loads(sys.stdin.buffer.read())
    except ValueError as error:
        raise Refused("bad-request", "the request is not JSON", why=str(error)) from error
    if not isinstance(document, dict):
        raise Refused("bad-request", "the request is not an object")
    return document
