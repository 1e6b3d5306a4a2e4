"""What the tables say of every deployment, in memory: read anew only where somebody has changed it.

Triggers number every change by table and deployment (`schema.CHANGES`), whoever makes it, also another process. A read
asks SQLite first whether anything was committed (some µs), then which deployments it was, and reads the rows of these.
A row that is as it was keeps its record: to make one takes far longer than to read the row.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lyc.records.deployment import Deployment, Release, Replica
from lyc.records.key import Key
from lyc.records.placement import Placement
from lyc.records.rental import Rental, RentalState
from lyc.store import schema
from lyc.store.rows import from_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Table

T = TypeVar("T")
_Rows = dict[tuple[Any, ...], Any]
_OPEN = f"state NOT IN ('{RentalState.GONE}', '{RentalState.REFUSED}')"


@dataclass(frozen=True, slots=True)
class _Kind:
    """order: of the records of one deployment. where: which rows are kept."""

    table: Table
    order: str
    deployment: str = "deployment"
    where: str = "true"

    def select(self, columns: str, which: str) -> str:
        # Names of columns and tables, none of which anybody typed in.
        return f"SELECT {columns} FROM {self.table.name} WHERE {self.where} AND {which} ORDER BY {self.order}"  # noqa: S608


_KINDS: dict[type, _Kind] = {
    Deployment: _Kind(schema.DEPLOYMENTS, "name", "name"),
    Release: _Kind(schema.RELEASES, "number"),
    Replica: _Kind(schema.REPLICAS, "created_at, rowid"),
    Key: _Kind(schema.KEYS, "created_at, rowid"),
    Placement: _Kind(schema.PLACEMENTS, "created_at, rowid"),
    Rental: _Kind(schema.RENTALS, "intended_at, rowid", where=_OPEN),
}
_BY_TABLE = {kind.table.name: cls for cls, kind in _KINDS.items()}


class Mirror:
    """Thread-safe. Every read is as new as the database at the moment of the call; what it gives is never changed."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._committed = -1
        self._number = 0
        self._kept: dict[type, dict[str, _Rows]] = {}
        self._records: dict[type, dict[str, tuple[Any, ...]]] = {}

    def close(self) -> None:
        """A later read opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @property
    def number(self) -> int:
        """Of the last change. The same number = the same records of every kind."""
        with self._lock:
            self._refresh()
            return self._number

    def of(self, cls: type[T], deployment: str) -> tuple[T, ...]:
        """Those of one deployment: releases by number, all else oldest first; of rentals the open ones."""
        with self._lock:
            self._refresh()
            return self._records[cls].get(deployment, ())

    def all(self, cls: type[T]) -> Mapping[str, tuple[T, ...]]:
        """By deployment; one without any is not there. A copy."""
        with self._lock:
            self._refresh()
            return dict(self._records[cls])

    def _refresh(self) -> None:
        connection = self._connection or self._opened()
        committed = connection.execute("PRAGMA data_version").fetchone()[0]
        if committed == self._committed:
            return
        connection.execute("BEGIN")  # so that what is read below is of one moment
        try:
            if self._committed < 0:
                self._number = connection.execute("SELECT ifnull(max(number), 0) FROM changes").fetchone()[0]
                for cls in _KINDS:
                    self._read_all(connection, cls)
            else:
                self._read_changed(connection)
        finally:
            connection.execute("COMMIT")
        self._committed = committed

    def _opened(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(
            self._path, timeout=self._timeout, check_same_thread=False, isolation_level=None
        )
        self._committed = -1
        return self._connection

    def _read_all(self, connection: sqlite3.Connection, cls: type) -> None:
        kind = _KINDS[cls]
        names = [column.name for column in kind.table.columns]
        place = names.index(kind.deployment)
        grouped: dict[str, list[tuple[Any, ...]]] = {}
        for row in connection.execute(kind.select(", ".join(names), "true")):
            grouped.setdefault(row[place], []).append(row)
        self._records[cls], former = {}, self._kept.get(cls, {})
        self._kept[cls] = {}
        for deployment, rows in grouped.items():
            self._keep(cls, names, deployment, rows, former.get(deployment, {}))

    def _read_changed(self, connection: sqlite3.Connection) -> None:
        changed = "SELECT number, kind, deployment FROM changes WHERE number > ? ORDER BY number"
        for number, table, deployment in connection.execute(changed, (self._number,)).fetchall():
            cls = _BY_TABLE.get(table)
            if cls is not None:
                kind = _KINDS[cls]
                names = [column.name for column in kind.table.columns]
                statement = kind.select(", ".join(names), f"{kind.deployment} = ?")
                rows = connection.execute(statement, (deployment,)).fetchall()
                self._keep(cls, names, deployment, rows, self._kept[cls].pop(deployment, {}))
            self._number = number

    def _keep(self, cls: type, names: list[str], deployment: str, rows: list[tuple[Any, ...]], former: _Rows) -> None:
        if not rows:
            self._records[cls].pop(deployment, None)
            return
        kept = {row: former[row] if row in former else _record(cls, names, row) for row in rows}
        self._kept[cls][deployment] = kept
        self._records[cls][deployment] = tuple(kept.values())


def _record(cls: type[T], names: list[str], row: tuple[Any, ...]) -> T:
    return from_row(cls, dict(zip(names, row, strict=True)))
