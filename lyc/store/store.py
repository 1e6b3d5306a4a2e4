"""The store: short transactions over SQLite, safe for the controller's threads. Never holds a lock over slow work."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, delete, event, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from lyc.errors import Failed, NotFound
from lyc.records.deployment import Deployment, Release, ReleaseState, Replica, ReplicaState
from lyc.records.engine import Reported
from lyc.records.host import Host, KnownHost, RemoteFacts
from lyc.records.key import Key
from lyc.records.operation import Operation, OperationEvent, OperationState
from lyc.records.rental import Rental, RentalState
from lyc.store import schema
from lyc.store.homes import Homes
from lyc.store.journal import Journal
from lyc.store.mirror import Mirror
from lyc.store.placements import Placements, WakeTimes
from lyc.store.rows import from_row, to_column, to_row

BUSY_SECONDS = 15.0
_CHANGING = (
    "state", "updated_at", "machine", "host", "address", "port", "user", "billed_from", "billed_until",
    "reason", "ready_at", "notice_at",
)  # fmt: skip
"""Columns of a rental by which one that was changed is told. What is nested is not among them: an older lyc may have
written the same in another way.
"""


class Store:
    """Opens (and creates) the database at `path`, 0600.

    Raises Failed `database-newer` when a newer lyc wrote it, `database-unusable` when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path = path
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        event.listen(self._engine, "connect", _configure)
        try:
            schema.METADATA.create_all(self._engine)
            written = self._upgrade()
        except DatabaseError as error:
            raise Failed(
                "database-unusable",
                f"the database {path} cannot be used",
                why=str(error.orig),
                hint=f"move it away: mv {path} {path}.broken (running deployments are found again by `lyc doctor`)",
            ) from error
        if written > schema.VERSION:
            raise Failed(
                "database-newer",
                f"{path} was written by a newer lyc (schema {written}, this one knows {schema.VERSION})",
                hint="use that version of lyc, or another LYC_HOME",
            )
        self.mirror = Mirror(path, BUSY_SECONDS)
        self.journal = Journal(self._engine)
        self.placements = Placements(self._engine, self.mirror)
        self.wake_times = WakeTimes(self._engine)
        self.homes = Homes(self._write)

    def close(self) -> None:
        self.mirror.close()
        self._engine.dispose()

    def _upgrade(self) -> int:
        """Bring an older database to this version, all steps in one transaction. Returns the version it has now."""
        table = schema.META
        with self._write() as connection:
            # Taken before the version is read, so that two who open an old database do not both change it.
            connection.execute(insert(table).values(name="opened", value="").on_conflict_do_nothing())
            found = connection.execute(select(table.c.value).where(table.c.name == "schema")).scalar()
            version = schema.VERSION if found is None else int(found)
            for step in range(version + 1, schema.VERSION + 1):
                for name, column, kind in schema.STEPS[step]:
                    there = {row[1] for row in connection.execute(text(f"PRAGMA table_info({name})"))}
                    if column not in there:
                        connection.execute(text(f"ALTER TABLE {name} ADD COLUMN {column} {kind}"))
                for statement in schema.FILL.get(step, ()):
                    connection.execute(text(statement))
            for statement in schema.triggers():
                connection.execute(text(statement))
            now = max(version, schema.VERSION)
            values = {"name": "schema", "value": str(now)}
            connection.execute(insert(table).values(values).on_conflict_do_update(index_elements=["name"], set_=values))
        return now

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def _rows(self, statement: Any) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def _put(self, table: Table, record: object, **extra: Any) -> None:
        row = to_row(record) | extra
        statement = insert(table).values(row)
        keys = [column.name for column in table.primary_key]
        changed = {name: value for name, value in row.items() if name not in keys}
        with self._write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))

    # meta
    def meta(self, name: str) -> str | None:
        rows = self._rows(select(schema.META).where(schema.META.c.name == name))
        return str(rows[0]["value"]) if rows else None

    def set_meta(self, name: str, value: str) -> None:
        statement = insert(schema.META).values(name=name, value=value)
        with self._write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))

    # deployments
    def deployments(self) -> list[Deployment]:
        """By name."""
        found = self.mirror.all(Deployment)
        return [found[name][0] for name in sorted(found)]

    def find_deployment(self, name: str) -> Deployment | None:
        return next(iter(self.mirror.of(Deployment, name)), None)

    def deployment(self, name: str) -> Deployment:
        """Raises NotFound `no-such-deployment`."""
        found = self.find_deployment(name)
        if found is None:
            raise NotFound("no-such-deployment", f"there is no deployment {name!r}", hint="lyc ls")
        return found

    def add_deployment(self, deployment: Deployment) -> None:
        """Store a new one; one of that name that is there already stays as it is."""
        with self._write() as connection:
            connection.execute(insert(schema.DEPLOYMENTS).values(to_row(deployment)).on_conflict_do_nothing())

    def change_deployment(self, name: str, now: float, **changes: Any) -> None:
        """Set some columns of a deployment; nothing happens if it is gone."""
        row = {key: to_column(value) for key, value in changes.items()} | {"updated_at": now}
        with self._write() as connection:
            connection.execute(update(schema.DEPLOYMENTS).where(schema.DEPLOYMENTS.c.name == name).values(row))

    def remove_deployment(self, name: str) -> None:
        with self._write() as connection:
            connection.execute(delete(schema.DEPLOYMENTS).where(schema.DEPLOYMENTS.c.name == name))
            for table in schema.OF_DEPLOYMENTS:
                connection.execute(delete(table).where(table.c.deployment == name))

    # releases
    def add_release(self, release: Release, *, surge: bool) -> Release:
        """In one transaction: number the release, store it, and make it the target. Returns it with its number.

        Raises Failed `taken-down` when its deployment is gone or going.
        """
        with self._write() as connection:
            last = connection.execute(
                select(func.max(schema.RELEASES.c.number)).where(schema.RELEASES.c.deployment == release.deployment)
            ).scalar()
            row = to_row(release) | {"number": (last or 0) + 1}
            connection.execute(insert(schema.RELEASES).values(row))
            table = schema.DEPLOYMENTS
            found = connection.execute(
                update(table)
                .where(table.c.name == release.deployment, table.c.stopping.is_(False))
                .values(target=row["number"], surge=surge, error=None, updated_at=release.created_at)
            )
            if found.rowcount != 1:
                raise Failed("taken-down", f"{release.deployment} was taken down meanwhile", hint="lyc ls")
        return from_row(Release, row)

    def releases(self, deployment: str) -> list[Release]:
        """Oldest first."""
        return list(self.mirror.of(Release, deployment))

    def retarget(self, name: str, number: int, now: float, *, surge: bool) -> None:
        """In one transaction: make a release of before the target again. Unless it serves still it must prove itself
        anew; a canary ends; one that never came so far is superseded; what had been given up counts no more.

        Raises Failed `taken-down` when the deployment is gone or going, NotFound `no-such-release`.
        """
        table, deployments, replicas = schema.RELEASES, schema.DEPLOYMENTS, schema.REPLICAS
        mine = table.c.deployment == name
        with self._write() as connection:
            found = connection.execute(
                update(deployments)
                .where(deployments.c.name == name, deployments.c.stopping.is_(False))
                .values(target=number, surge=surge, error=None, canary=None, updated_at=now)
            )
            if found.rowcount != 1:
                raise Failed("taken-down", f"{name} was taken down meanwhile", hint="lyc ls")
            state = connection.execute(select(table.c.state).where(mine, table.c.number == number)).scalar()
            if state is None:
                raise NotFound("no-such-release", f"{name} has no release {number}", hint=f"lyc releases {name}")
            connection.execute(
                update(table)
                .where(mine, table.c.number != number, table.c.state.in_([ReleaseState.PENDING, ReleaseState.CANARY]))
                .values(state=ReleaseState.SUPERSEDED)
            )
            if state != ReleaseState.ACTIVE:
                again = update(table).where(mine, table.c.number == number)
                connection.execute(again.values(state=ReleaseState.PENDING, error=None))
            given_up = replicas.c.state == ReplicaState.FAILED
            failed = (replicas.c.deployment == name, replicas.c.release == number, given_up)
            # Not forgotten: an engine that was given up because it hung may still be about to end.
            connection.execute(update(replicas).where(*failed).values(state=ReplicaState.STOPPED, retry_at=None))

    def set_release_state(
        self,
        deployment: str,
        number: int,
        state: ReleaseState,
        error: dict[str, object] | None = None,
        *,
        at: float | None = None,
    ) -> None:
        """at: when, in seconds since the epoch; kept of one that became active."""
        table = schema.RELEASES
        moment = {"active_at": at} if state is ReleaseState.ACTIVE and at is not None else {}
        with self._write() as connection:
            connection.execute(
                update(table)
                .where(table.c.deployment == deployment, table.c.number == number)
                .values(state=state, error=to_column(error), **moment)
            )

    def set_reported(self, deployment: str, number: int, reported: Reported) -> None:
        """What an engine said of its memory; nothing happens if the release is gone."""
        table = schema.RELEASES
        with self._write() as connection:
            connection.execute(
                update(table)
                .where(table.c.deployment == deployment, table.c.number == number)
                .values(reported=to_column(reported))
            )

    # replicas
    def replicas(self, deployment: str) -> list[Replica]:
        """Oldest first."""
        return list(self.mirror.of(Replica, deployment))

    def replicas_by_deployment(self) -> Mapping[str, Sequence[Replica]]:
        """All of them at once, oldest first of each; those of a deployment without any are not there."""
        return self.mirror.all(Replica)

    def put_replica(self, replica: Replica) -> None:
        self._put(schema.REPLICAS, replica)

    def remove_replica(self, identity: str) -> None:
        with self._write() as connection:
            connection.execute(delete(schema.REPLICAS).where(schema.REPLICAS.c.id == identity))

    # keys
    def list_keys(self, deployment: str | None = None) -> list[Key]:
        """Oldest first."""
        if deployment is not None:
            return list(self.mirror.of(Key, deployment))
        return sorted(chain.from_iterable(self.mirror.all(Key).values()), key=lambda key: key.created_at)

    def put_key(self, key: Key) -> None:
        self._put(schema.KEYS, key)

    # hosts
    def hosts(self) -> list[KnownHost]:
        """By name."""
        return [_known_host(row) for row in self._rows(select(schema.HOSTS).order_by("name"))]

    def host(self, name: str) -> KnownHost:
        """Raises NotFound `no-such-host`."""
        rows = self._rows(select(schema.HOSTS).where(schema.HOSTS.c.name == name))
        if not rows:
            raise NotFound("no-such-host", f"there is no host {name!r}", hint="lyc hosts ls")
        return _known_host(rows[0])

    def put_host(self, known: KnownHost) -> None:
        seen = {"facts": to_column(known.facts), "error": to_column(known.error), "seen_at": known.seen_at}
        self._put(schema.HOSTS, known.host, **seen)

    def saw_host(self, known: KnownHost) -> None:
        """Store what a look found; nothing happens if the host was removed meanwhile."""
        seen = {"facts": to_column(known.facts), "error": to_column(known.error), "seen_at": known.seen_at}
        with self._write() as connection:
            connection.execute(update(schema.HOSTS).where(schema.HOSTS.c.name == known.host.name).values(seen))

    def prepared(self, name: str) -> dict[str, Any] | None:
        """What bootstrapping left on a host, as `set_prepared` was given it; None if it never ended well."""
        rows = self._rows(select(schema.HOSTS.c.prepared).where(schema.HOSTS.c.name == name))
        return json.loads(rows[0]["prepared"]) if rows and rows[0]["prepared"] else None

    def set_prepared(self, name: str, found: dict[str, Any] | None) -> None:
        """Nothing happens if the host was removed meanwhile."""
        with self._write() as connection:
            connection.execute(
                update(schema.HOSTS).where(schema.HOSTS.c.name == name).values(prepared=to_column(found))
            )

    def remove_host(self, name: str) -> None:
        with self._write() as connection:
            connection.execute(delete(schema.HOSTS).where(schema.HOSTS.c.name == name))

    # rentals
    def rentals(
        self, *, deployment: str | None = None, provider: str | None = None, open_only: bool = False
    ) -> list[Rental]:
        """Oldest first. open_only: those that may cost money still."""
        if open_only:
            of = self.mirror.all(Rental).values() if deployment is None else [self.mirror.of(Rental, deployment)]
            found = (one for rentals in of for one in rentals if provider in (None, one.provider))
            return sorted(found, key=lambda one: one.intended_at)
        table = schema.RENTALS
        statement = select(table).order_by(table.c.intended_at)
        if deployment is not None:
            statement = statement.where(table.c.deployment == deployment)
        if provider is not None:
            statement = statement.where(table.c.provider == provider)
        return [from_row(Rental, row) for row in self._rows(statement)]

    def rental(self, run_id: str) -> Rental | None:
        rows = self._rows(select(schema.RENTALS).where(schema.RENTALS.c.run_id == run_id))
        return from_row(Rental, rows[0]) if rows else None

    def add_rental(self, rental: Rental) -> None:
        """Before its machine is asked for: the intent."""
        with self._write() as connection:
            connection.execute(insert(schema.RENTALS).values(to_row(rental)))

    def change_rental(self, rental: Rental, was: RentalState | Rental) -> bool:
        """Store it if it is still as it `was`, as a whole or in its state; whether it was. Two threads never undo what
        the other one did.
        """
        table = schema.RENTALS
        kept = [table.c.state == was]
        if isinstance(was, Rental):
            before = to_row(was)
            kept = [table.c[name].is_not_distinct_from(before[name]) for name in _CHANGING]
        with self._write() as connection:
            found = connection.execute(
                update(table).where(table.c.run_id == rental.run_id, *kept).values(to_row(rental))
            )
            return found.rowcount == 1

    # operations
    def put_operation(self, operation: Operation) -> None:
        self._put(schema.OPERATIONS, operation)

    def operation(self, identity: str) -> Operation:
        """Raises NotFound `no-such-operation`."""
        rows = self._rows(select(schema.OPERATIONS).where(schema.OPERATIONS.c.id == identity))
        if not rows:
            raise NotFound("no-such-operation", f"there is no operation {identity!r}", hint="lyc ls")
        return from_row(Operation, rows[0])

    def running_operations(self, deployment: str | None = None) -> list[Operation]:
        """Oldest first."""
        table = schema.OPERATIONS
        statement = select(table).where(table.c.state == OperationState.RUNNING).order_by(table.c.created_at)
        if deployment is not None:
            statement = statement.where(table.c.deployment == deployment)
        return [from_row(Operation, row) for row in self._rows(statement)]

    def operations(self, deployment: str) -> list[Operation]:
        """All of one deployment, oldest first."""
        table = schema.OPERATIONS
        statement = select(table).where(table.c.deployment == deployment).order_by(table.c.created_at)
        return [from_row(Operation, row) for row in self._rows(statement)]

    def put_event(self, operation: str, item: OperationEvent) -> None:
        self._put(schema.EVENTS, item, operation=operation)

    def events(self, operation: str, after: int = 0) -> list[OperationEvent]:
        table = schema.EVENTS
        statement = select(table).where(table.c.operation == operation, table.c.seq > after).order_by(table.c.seq)
        return [from_row(OperationEvent, row) for row in self._rows(statement)]


def _known_host(row: dict[str, Any]) -> KnownHost:
    facts = None if row["facts"] is None else from_row(RemoteFacts, json.loads(row["facts"]))
    error = None if row["error"] is None else json.loads(row["error"])
    return KnownHost(from_row(Host, row), facts, error, row["seen_at"])


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an intent must be on the disk before its act, power cuts included
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
