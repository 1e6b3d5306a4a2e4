"""Each action in words, for a person who asks what would be done."""

from __future__ import annotations

from lyc.records.deployment import ReleaseState
from lyc.rollout.actions import (
    Action,
    CreateReplica,
    Expand,
    MoveReplica,
    RemoveDeployment,
    Retarget,
    SettleRelease,
    SleepEngine,
    StartProcess,
    StopProcess,
    WakeEngine,
)
from lyc.rollout.transitions import Signal

_MOVES = {
    Signal.START: "{} is to start",
    Signal.LOADING: "{} reads its weights",
    Signal.LISTENING: "{} listens; ask it for a completion",
    Signal.PROVEN: "{} has answered: send it requests",
    Signal.DIED: "{} has died: try it again",
    Signal.UNWELL: "{} answers no more: stop it and try it again",
    Signal.GAVE_UP: "{} is given up",
    Signal.RETRY: "{} is tried again",
    Signal.DRAIN: "send {} no new requests, and let those finish that it has",
    Signal.STOP: "{} is to stop",
    Signal.GONE: "{} has ended",
    Signal.LOST: "the host of {} does not answer: send it no requests",
    Signal.FOUND: "the host of {} answers again: look whether it serves",
    Signal.RESTARTED: "its host has started {} again: look whether it serves",
    Signal.PUT_BY: "forget that {} was given up",
    Signal.SLEEP: "{} is to sleep",
    Signal.WAKE: "{} is to wake",
    Signal.STAY: "send {} requests again",
}
_SETTLED = {
    ReleaseState.PENDING: "release {} is to be proven",
    ReleaseState.CANARY: "release {} gets its share of the requests",
    ReleaseState.ACTIVE: "release {} serves",
    ReleaseState.SUPERSEDED: "release {} gives way",
    ReleaseState.FAILED: "release {} has failed",
}


def words(action: Action) -> str:
    """One line without a full stop."""
    match action:
        case CreateReplica(release, host):
            return f"add a replica of release {release}" + (f" on {host}" if host else "")
        case Expand(release, count):
            return f"look for one more host for release {release}: there is no room for {count} of its replicas"
        case MoveReplica(replica, signal, error):
            return _MOVES[signal].format(replica) + _because(error)
        case StartProcess(replica):
            return f"start the engine of {replica}"
        case SleepEngine(replica):
            return f"let the engine of {replica} sleep"
        case WakeEngine(replica):
            return f"wake the engine of {replica}"
        case StopProcess(replica, grace):
            return f"stop the engine of {replica}" + (f", within {grace:g} s" if grace else "")
        case SettleRelease(release, state, error, back):
            return _SETTLED[state].format(release) + (" again" if back else "") + _because(error)
        case Retarget(release, error):
            return ("serve nothing" if release is None else f"go back to release {release}") + _because(error)
        case RemoveDeployment():
            return "forget the deployment"


def _because(error: dict[str, object] | None) -> str:
    what = error and error.get("what")
    return f" ({what})" if what else ""
