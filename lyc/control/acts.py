"""Actions of the reconciler in the journal: before each act, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lyc.control.deps import Deps
from lyc.errors import LycError
from lyc.rollout import words
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

ACTOR = "reconciler"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def name(action: Action) -> str:
    """`CreateReplica` → `create-replica`."""
    return _WORD.sub("-", type(action).__name__).lower()


def subject(action: Action) -> str:
    """The replica, or the number of the release; empty for the deployment itself."""
    match action:
        case MoveReplica() | StartProcess() | StopProcess() | SleepEngine() | WakeEngine():
            return action.replica
        case CreateReplica() | Expand() | SettleRelease():
            return str(action.release)
        case Retarget(release):
            return "" if release is None else str(release)
    return ""


@dataclass(slots=True)
class Outcome:
    """How an act ended: `done`, or the name of an error."""

    result: str = "done"


class Acts:
    """Of one deployment. What is done again and again until it has an effect is written down once."""

    def __init__(self, deps: Deps, deployment: str) -> None:
        self._deps = deps
        self._deployment = deployment
        self._last: dict[str, Action] = {}

    @contextmanager
    def written(self, action: Action) -> Iterator[Outcome]:
        """Around the act. What changes the world is written down before it; what only changes the store, after it."""
        who, outcome = subject(action), Outcome()
        abroad = isinstance(action, StartProcess | StopProcess | SleepEngine | WakeEngine)
        if abroad and self._last.get(who) == action:
            yield outcome
            return
        journal, at = self._deps.store.journal, self._deps.clock()
        entry = (at, self._deployment, ACTOR, name(action))
        identity = journal.begin(*entry, subject=who, cause=words(action)) if abroad else None
        try:
            yield outcome
        except LycError as error:
            outcome.result = error.ref
            raise
        except BaseException:
            outcome.result = "failed"
            raise
        finally:
            if identity is not None:
                journal.end(identity, outcome.result)
            elif not isinstance(action, RemoveDeployment):
                journal.done(*entry, subject=who, cause=words(action), result=outcome.result)
        self._last[who] = action

    def forget(self, replica: str) -> None:
        self._last.pop(replica, None)
