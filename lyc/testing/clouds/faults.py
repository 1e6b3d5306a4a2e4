"""What goes wrong in a fake cloud, at which call, and how often."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FaultKind = Literal[
    "refuse",
    "lose",
    "delay",
    "double",
    "status",
    "malformed",
    "slow",
    "late-failure",
    "odd-state",
    "no-capacity",
]

OPS = ("offers", "create", "get", "list", "terminate", "leftovers", "remove", "account")
"""What a route is for. A fake may have further ones of its own; `*` in a Fault means any."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, at `times` calls of `op`, after the first `skip` of them went well.

    refuse        the connection is closed before anything is done
    lose          it is done, and the connection closed without an answer
    delay         the connection is closed at once; it is done later: after `steps` further requests, or, where
                  `seconds` is not 0, when so many have passed by the cloud's clock (or by `Faults.catch_up`)
    double        it is done twice; the answer is the first one's
    status        nothing is done; the answer is `code` with `body` (None = as this provider words it) and `headers`
    malformed     it is done; the answer is no JSON
    slow          it is done at once, and answered after `seconds`
    late-failure  it is done and answered; the machine that it made fails afterwards, with `problem`
    odd-state     the machine that it makes, or every one that it shows, has a status `word` that nobody knows
    no-capacity   nothing is done; sold out, as this provider says it
    """

    op: str
    kind: FaultKind
    times: int = 1
    skip: int = 0
    code: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    steps: int = 1
    seconds: float = 0.0
    problem: str = "the machine did not come up"
    word: str = "quiescing"


class Faults:
    """The faults still to come, thread-safe. One is used at a call; of several for one op the first added is first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[list[Any]] = []  # [fault, calls still to let through, times left]

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._waiting += [[fault, fault.skip, fault.times] for fault in faults]

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    @property
    def left(self) -> int:
        """Calls that have still to go wrong: a test whose fault never came to pass proves nothing."""
        with self._lock:
            return sum(row[2] for row in self._waiting)

    def take(self, op: str) -> Fault | None:
        """What goes wrong with this call."""
        with self._lock:
            for row in self._waiting:
                fault: Fault = row[0]
                if fault.op not in (op, "*"):
                    continue
                if row[1] > 0:
                    row[1] -= 1
                    continue
                row[2] -= 1
                if row[2] <= 0:
                    self._waiting.remove(row)
                return fault
            return None
