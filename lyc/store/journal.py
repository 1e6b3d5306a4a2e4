"""The journal: what was done to deployments, by whom, why, and how it ended. An entry is a short transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, insert, select, update

from lyc.records.journal import JournalEntry
from lyc.store import schema
from lyc.store.rows import to_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Engine

INTERRUPTED = "interrupted"
"""The result of an entry that whoever wrote it never ended: it was killed in between."""
KEPT = 2000
"""Entries of a deployment that stay."""
_PRUNED_EVERY = 199
"""A prime, so that no rhythm of deployments keeps one of them from ever being pruned."""


class Journal:
    """Of all deployments, by their names. Thread-safe; never pruned by hand.

    Entries that were not ended when the database was opened are shown with the result `interrupted`: their controller
    is gone.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            self._before = int(connection.execute(select(func.max(schema.JOURNAL.c.id))).scalar() or 0)

    def begin(
        self,
        at: float,
        deployment: str,
        actor: str,
        action: str,
        *,
        subject: str = "",
        cause: str = "",
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Before the act. Returns the id of the entry, by which it is ended. at: seconds since the epoch."""
        return self._add(JournalEntry(0, at, deployment, actor, action, subject, cause, None, dict(detail or {})))

    def done(
        self,
        at: float,
        deployment: str,
        actor: str,
        action: str,
        *,
        subject: str = "",
        cause: str = "",
        detail: Mapping[str, object] | None = None,
        result: str = "done",
    ) -> int:
        """`begin` and `end` in one write: for what happened in one go."""
        return self._add(JournalEntry(0, at, deployment, actor, action, subject, cause, result, dict(detail or {})))

    def end(self, identity: int, result: str = "done") -> None:
        """result: `done`, or the name of an error. Nothing happens if its deployment is gone, or it has ended."""
        table = schema.JOURNAL
        with self._engine.begin() as connection:
            connection.execute(
                update(table).where(table.c.id == identity, table.c.result.is_(None)).values(result=result)
            )

    def list(
        self, deployment: str, *, after: int = 0, limit: int | None = None, since: float | None = None
    ) -> Sequence[JournalEntry]:
        """Oldest first, those with an id above `after`; of more than `limit`, the newest. since: seconds since the
        epoch.
        """
        table = schema.JOURNAL
        statement = select(table).where(table.c.deployment == deployment, table.c.id > after)
        if since is not None:
            statement = statement.where(table.c.at >= since)
        return self._read(statement.order_by(table.c.id.desc()).limit(limit))[::-1]

    def of(self, identities: Collection[int]) -> Sequence[JournalEntry]:
        """Those entries as they are now; what is gone is left out."""
        table = schema.JOURNAL
        return self._read(select(table).where(table.c.id.in_(identities)).order_by(table.c.id)) if identities else []

    def prune(self, deployment: str, keep: int = KEPT) -> None:
        """Forget all but the newest; it happens by itself now and then."""
        with self._engine.begin() as connection:
            _prune(connection, deployment, keep)

    def _add(self, entry: JournalEntry) -> int:
        row = to_row(entry)
        del row["id"]
        with self._engine.begin() as connection:
            key = connection.execute(insert(schema.JOURNAL).values(row)).inserted_primary_key
            identity = int(key[0]) if key is not None else 0
            if identity % _PRUNED_EVERY == 0:
                _prune(connection, entry.deployment, KEPT)
        return identity

    def _read(self, statement: Any) -> Sequence[JournalEntry]:
        with self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(statement).mappings()]
        for row in rows:
            row["detail"] = json.loads(row["detail"])
            if row["result"] is None and row["id"] <= self._before:
                row["result"] = INTERRUPTED
        return [JournalEntry(**row) for row in rows]


def _prune(connection: Connection, deployment: str, keep: int) -> None:
    table = schema.JOURNAL
    newest = select(table.c.id).where(table.c.deployment == deployment).order_by(table.c.id.desc()).limit(keep)
    connection.execute(delete(table).where(table.c.deployment == deployment, table.c.id.not_in(newest)))
