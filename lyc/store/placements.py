"""On which hosts releases run besides their own, and how long waking took. A call is a short transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from lyc.records.placement import Placement
from lyc.records.waketime import WakeTime
from lyc.store import schema
from lyc.store.rows import from_row, to_row

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from lyc.store.mirror import Mirror

KEPT_WAKES = 20
"""Wake times of one kind of a release that stay."""


class Placements:
    """Of all deployments, by their names. Thread-safe."""

    def __init__(self, engine: Engine, mirror: Mirror) -> None:
        self._engine = engine
        self._mirror = mirror

    def list(self, deployment: str | None = None) -> list[Placement]:
        """Oldest first."""
        if deployment is not None:
            return list(self._mirror.of(Placement, deployment))
        return sorted(chain.from_iterable(self._mirror.all(Placement).values()), key=lambda one: one.created_at)

    def put(self, placement: Placement) -> None:
        """Store it, or what has become of it."""
        row = to_row(placement)
        statement = insert(schema.PLACEMENTS).values(row)
        changed = {name: value for name, value in row.items() if name != "id"}
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed))

    def remove(self, identity: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(schema.PLACEMENTS).where(schema.PLACEMENTS.c.id == identity))


class WakeTimes:
    """Measured ones. Thread-safe; of each kind the last few stay."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, deployment: str) -> list[WakeTime]:
        """Oldest first, of all releases and kinds."""
        table = schema.WAKES
        with self._engine.connect() as connection:
            rows = connection.execute(select(table).where(table.c.deployment == deployment).order_by(table.c.at))
            return [from_row(WakeTime, dict(row)) for row in rows.mappings()]

    def by_deployment(self) -> dict[str, Sequence[WakeTime]]:
        """Of all deployments that were ever measured, each as `list` has them."""
        table = schema.WAKES
        query = select(table).order_by(table.c.deployment, table.c.at)
        with self._engine.connect() as connection:
            rows = [from_row(WakeTime, dict(row)) for row in connection.execute(query).mappings()]
        return {name: tuple(found) for name, found in groupby(rows, key=lambda one: one.deployment)}

    def add(self, found: WakeTime) -> None:
        """The same one twice counts once."""
        table = schema.WAKES
        same = (
            table.c.deployment == found.deployment,
            table.c.release == found.release,
            table.c.step == found.step,
        )
        newest = select(table.c.at).where(*same).order_by(table.c.at.desc()).limit(KEPT_WAKES)
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(to_row(found)).on_conflict_do_nothing())
            connection.execute(delete(table).where(*same, table.c.at.not_in(newest)))
