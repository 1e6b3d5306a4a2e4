"""Runs operations: stored before they begin, one thread each, taken up again after a restart."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from lyc.control.deps import Deps
from lyc.control.feed import Feed
from lyc.control.layout import drop_credentials, save_credentials
from lyc.errors import Bug, LycError
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
Begin = Callable[[OperationKind, str, dict[str, object]], object]
"""Of `Operations.begin` what those need who begin one by themselves: kind, deployment, request."""


class Talk:
    """What a running operation says; `lyc.ports.Reporter` for the work it calls."""

    def __init__(self, feed: Feed, operation: str, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._operation = operation
        self._clock = clock
        self._last_progress = 0.0

    def phase(self, event: PhaseEvent) -> None:
        keep = event.status is not PhaseStatus.PROGRESS
        if not keep:
            now = self._clock()
            if now - self._last_progress < PROGRESS_SECONDS:
                return
            self._last_progress = now
        self._feed.publish(self._operation, "phase", dataclasses.asdict(event), keep=keep)

    def warn(self, message: str) -> None:
        self._feed.publish(self._operation, "warning", {"message": message})

    @contextmanager
    def during(self, phase: Phase, message: str = "") -> Iterator[list[str]]:
        """A phase with its duration. What the body appends to the list is said when it is done."""
        began = self._clock()
        said: list[str] = []
        self.phase(PhaseEvent(phase, PhaseStatus.STARTED, message))
        try:
            yield said
        except BaseException:
            self.phase(PhaseEvent(phase, PhaseStatus.FAILED, seconds=self._clock() - began))
            raise
        self.phase(PhaseEvent(phase, PhaseStatus.DONE, "; ".join(said), seconds=self._clock() - began))


class Unheard(Talk):
    """For work that nobody watches."""

    def __init__(self) -> None:
        """Publishes nothing, so it needs no feed."""

    def phase(self, event: PhaseEvent) -> None:
        """Said to nobody."""

    def warn(self, message: str) -> None:
        """Said to nobody."""

    @contextmanager
    def during(self, phase: Phase, message: str = "") -> Iterator[list[str]]:  # noqa: ARG002  as `Talk` has it
        """Said to nobody."""
        yield []


Work = Callable[[Operation, Talk], dict[str, object]]
"""Does an operation and returns its result; raises LycError. Must bear being run again from the start."""


class Operations:
    """Starts, resumes and ends operations."""

    def __init__(self, deps: Deps, feed: Feed, work: Mapping[OperationKind, Work]) -> None:
        self._deps = deps
        self._feed = feed
        self._work = work

    def begin(
        self,
        kind: OperationKind,
        deployment: str,
        request: dict[str, object],
        credentials: Mapping[str, str] | None = None,
    ) -> Operation:
        """Store the wish, then start on it."""
        now = self._deps.clock()
        identity = f"op-{secrets.token_hex(6)}"
        operation = Operation(identity, kind, deployment, request, OperationState.RUNNING, now)
        save_credentials(self._deps.settings, identity, credentials or {})
        self._deps.store.put_operation(operation)
        self._spawn(operation)
        return operation

    def resume(self) -> None:
        """Take up what a controller before this one had begun."""
        for operation in self._deps.store.running_operations():
            log.info("resuming %s of %s", operation.kind, operation.deployment)
            self._spawn(operation, again=True)

    def _spawn(self, operation: Operation, *, again: bool = False) -> None:
        threading.Thread(target=self._run, args=(operation, again), name=operation.id, daemon=True).start()

    def _run(self, operation: Operation, again: bool) -> None:
        entry = self._written(operation, again=again)
        talk = Talk(self._feed, operation.id, self._deps.clock)
        result: dict[str, object] | None = None
        failure: LycError | None = None
        try:
            result = self._work[operation.kind](operation, talk)
        except LycError as error:
            failure = error
        except Exception as error:
            log.exception("operation %s", operation.id)
            failure = bug(f"{operation.kind} of {operation.deployment}", error)
        drop_credentials(self._deps.settings, operation.id)
        if entry is not None:
            self._deps.store.journal.end(entry, failure.ref if failure else "done")
        self._deps.store.put_operation(
            dataclasses.replace(
                operation,
                state=OperationState.FAILED if failure else OperationState.SUCCEEDED,
                finished_at=self._deps.clock(),
                result=result,
                error=failure.document() if failure else None,
            )
        )
        if failure:
            log.error("%s of %s failed: %s", operation.kind, operation.deployment, failure)
        self._feed.publish(
            operation.id, "error" if failure else "result", failure.document() if failure else result or {}
        )

    def _written(self, operation: Operation, *, again: bool) -> int | None:
        """An entry in the journal, where what the operation does was not written there by whoever asked for it."""
        request = operation.request
        if operation.kind not in (OperationKind.DEPLOY, OperationKind.DOWN) or request.get("written"):
            return None
        spec = request.get("spec")
        model = str(spec.get("model", "")) if isinstance(spec, dict) else ""
        return self._deps.store.journal.begin(
            self._deps.clock(),
            operation.deployment,
            "user",
            operation.kind.value,
            cause=", ".join(part for part in (model, "taken up again" if again else "") if part),
            detail={"operation": operation.id},
        )


def bug(work: str, error: Exception) -> Bug:
    """An error that lyc did not foresee, in the words of one that it did."""
    return Bug(
        "internal-error",
        f"{work} broke inside lyc: {type(error).__name__}",
        why=str(error),
        hint="please report it with the output of: lyc controller logs",
    )
