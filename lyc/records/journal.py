"""What was done to a deployment, by whom, why, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Written before the act; its result after it.

    id: counts up over all deployments. actor: `user`, `reconciler`, `autoscaler`, `activator`, `budget`, `ttl`.
    action: a verb and what it is done to, in kebab-case (`create-replica`, `move-replica`, `scale`, `rollback`).
    subject: the replica, the release or the operation, empty for the deployment itself. cause: why, in a few words.
    result: `done`, the name of an error, or None while it is under way (or was cut off by a kill).
    """

    id: int
    at: float
    deployment: str
    actor: str
    action: str
    subject: str = ""
    cause: str = ""
    result: str | None = None
    detail: dict[str, object] = field(default_factory=dict)
