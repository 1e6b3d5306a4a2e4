"""What becomes of a request that found no replica: held, handed back, or refused. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lyc.records.wake import Waking

TRIES = 3
"""So many replicas may have a request: one that kills the engine it reaches must not kill every replica there is."""
LOOK_AGAIN_SECONDS = 2.0
"""A request that comes back once more waits so long: until then a replica may be taken for well although it is not."""
SOON = 5
"""Retry-After where nothing better is known."""
STOPPED_FOR = 60
"""Retry-After of what a person must put right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. size: bytes of its body. tries: replicas that have had it, as far as is known.

    came: when it reached the activator; began: when it reached the gateway, earlier if it was tried before; both on the
    machine's monotonic clock. patience: seconds that its caller will wait, None = no wish.
    """

    deployment: str
    size: int
    came: float
    began: float
    patience: float | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """until: look again then at the latest."""

    until: float


@dataclass(frozen=True, slots=True)
class Replay:
    """Hand it back to the gateway, which sends it to a replica."""

    replicas: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refuse:
    """An answer in OpenAI's shape. again: the gateway itself shall try again in so many seconds."""

    status: int
    code: str
    message: str
    kind: str = "server_error"
    retry_after: int | None = SOON
    expected: float | None = None
    again: int | None = None


Verdict = Hold | Replay | Refuse

CROWDED = Refuse(429, "queue_full", "Too many requests wait for a replica.", "rate_limit_error")
RESTARTING = Refuse(503, "controller_restarting", "The controller that holds waiting requests restarts.", again=2)


def judge(waking: Waking, asked: Asked, now: float, ahead: tuple[int, int] | None) -> Verdict:
    """ahead: requests that wait already, and bytes of their bodies; None for one that was let in to wait before."""
    if asked.tries >= TRIES:
        return Refuse(503, "replica_lost", f"This request went to {TRIES} replicas, and each was lost or gave it up.")
    match waking.state:
        case "unknown":
            message = "There is no deployment of this name any more."
            return Refuse(404, "not_found", message, "invalid_request_error", retry_after=None)
        case "paused" | "failed":
            later = STOPPED_FOR if waking.expected is None else retry_after(waking)
            return Refuse(503, f"deployment_{waking.state}", _why(waking), retry_after=later)
    not_before = asked.came + (LOOK_AGAIN_SECONDS if asked.tries > 1 else 0.0)
    if waking.replica and now >= not_before:
        return Replay(waking.replica)
    patience = waking.timeout if asked.patience is None else min(asked.patience, waking.timeout)
    deadline = asked.began + patience
    if now >= deadline:
        return _given_up(waking, patience)
    if ahead and (ahead[0] >= waking.queue or ahead[1] + asked.size > waking.queue_bytes):
        full = f"Too many requests wait for a replica ({ahead[0]}, {ahead[1]} bytes); {_expected(waking)}."
        return Refuse(429, "queue_full", full, "rate_limit_error", retry_after(waking), waking.expected)
    return Hold(min(deadline, not_before) if now < not_before else deadline)


def retry_after(waking: Waking) -> int:
    """Whole seconds after which it is worth to come again."""
    return SOON if waking.expected is None else max(1, min(math.ceil(waking.expected), 3600))


def _given_up(waking: Waking, waited: float) -> Refuse:
    begun = f"after {waited:.0f} s no replica" if waited else "no replica"
    message = f"{begun} of this deployment is ready; {_expected(waking)}."
    return Refuse(
        503, "wake_timeout", message[0].upper() + message[1:], retry_after=retry_after(waking), expected=waking.expected
    )


def _expected(waking: Waking) -> str:
    if waking.error is not None:
        return str(waking.error.get("what") or "one cannot be started just now")
    if waking.expected is None:
        return "one is being started"
    return f"one is being started and expected in about {max(1, math.ceil(waking.expected))} s"


def _why(waking: Waking) -> str:
    error = waking.error or {}
    what = str(error.get("what") or f"this deployment is {waking.state}")
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return f"{what[0].upper()}{what[1:]}{hint}."
