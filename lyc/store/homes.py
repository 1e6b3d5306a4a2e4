"""A release that got another machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sqlalchemy import update

from lyc.errors import Failed
from lyc.store import schema
from lyc.store.rows import to_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from lyc.records.deployment import Release

_MOVED = ("spec", "spec_digest", "plan", "snapshot_path")


class Homes:
    """Thread-safe."""

    def __init__(self, write: Callable[[], AbstractContextManager[Connection]]) -> None:
        """write: opens a transaction."""
        self._write = write

    def move(self, release: Release, now: float, *, surge: bool) -> None:
        """In one transaction: the release is on the host that its spec names from now on, planned for as it says.

        Raises Failed `taken-down` where its deployment is gone or going, or wants another release by now.
        """
        table, deployments = schema.RELEASES, schema.DEPLOYMENTS
        row = to_row(release)
        with self._write() as connection:
            found = connection.execute(
                update(deployments)
                .where(
                    deployments.c.name == release.deployment,
                    deployments.c.stopping.is_(False),
                    deployments.c.target == release.number,
                )
                .values(surge=surge, error=None, updated_at=now)
            )
            if found.rowcount != 1:
                raise Failed("taken-down", f"{release.deployment} was taken down meanwhile", hint="lyc ls")
            mine = (table.c.deployment == release.deployment, table.c.number == release.number)
            connection.execute(update(table).where(*mine).values({name: row[name] for name in _MOVED}))
