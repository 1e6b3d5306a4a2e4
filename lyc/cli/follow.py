"""Follow an operation of the controller until it ends, through restarts of the controller, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from lyc.cli.progress import Progress, phase_event
from lyc.errors import LycError, Pending, Unreachable, from_document

if TYPE_CHECKING:
    from lyc.control.client import ControllerClient

T = TypeVar("T")

RECONNECT_SECONDS = 30.0
"""How long a controller may be away before the follower gives up."""
_SILENCE_SECONDS = 10.0
"""After so long without an event the stream is opened anew, which also finds out that nobody is there."""

_PAUSE_SECONDS = 0.2


def asked(connect: Callable[[], ControllerClient], question: Callable[[ControllerClient], T]) -> T:
    """What the controller answers; asked once more where it went away before it had. For what may be done twice."""
    try:
        return question(connect())
    except Unreachable as problem:
        if problem.ref != "controller-gone":
            raise
        return question(connect())


def follow(
    connect: Callable[[], ControllerClient],
    operation: str,
    progress: Progress,
    *,
    deadline: float | None = None,
) -> Mapping[str, object]:
    """The operation's result. connect: gives a client, starting the controller if none runs.

    deadline: on the monotonic clock. Raises the operation's own error, Pending `still-pending` at the deadline, and
    Unreachable when the controller stays away.
    """
    seen = 0
    away_since: float | None = None
    failure: LycError | None = None  # the operation's own, which may be an Unreachable too: raised outside of the `try`
    while deadline is None or time.monotonic() < deadline:
        try:
            silence = _patience(deadline)
            for event in connect().events(operation, after=seen, silence=silence, deadline=deadline):
                seen, away_since = max(seen, event["seq"]), None
                match event["kind"]:
                    case "phase":
                        if (known := phase_event(event["data"])) is not None:
                            progress.event(known)
                    case "warning":
                        progress.warn(str(event["data"].get("message")))
                    case "result":
                        return event["data"]
                    case "error":
                        failure = _error(event["data"])
        except TimeoutError:
            continue
        except Unreachable:
            now = time.monotonic()
            away_since = away_since or now
            if now - away_since > RECONNECT_SECONDS:
                raise
        if failure is not None:
            raise failure
        time.sleep(_PAUSE_SECONDS)  # the stream ended before the operation: the controller is being replaced
    raise Pending("still-pending", "it is not ready yet, and the time to wait is over")


def _patience(deadline: float | None) -> float:
    left = _SILENCE_SECONDS if deadline is None else deadline - time.monotonic()
    return max(0.05, min(_SILENCE_SECONDS, left))


def _error(data: Mapping[str, object]) -> LycError:
    inner = data.get("error")
    return from_document(cast("Mapping[str, object]", inner) if isinstance(inner, dict) else data)
