"""The tables. A change of shape raises VERSION and gets a step in `lyc.store.store`."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Boolean, Column, Float, Integer, MetaData, String, Table, Text

VERSION = 7

STEPS: dict[int, tuple[tuple[str, str, str], ...]] = {
    2: (("releases", "reported", "TEXT"),),
    3: (),  # the table of hosts, which is made where it is not there
    4: (
        ("replicas", "starts", "INTEGER NOT NULL DEFAULT 1"),
        ("replicas", "devices", "TEXT"),
        ("deployments", "abandon", "BOOLEAN NOT NULL DEFAULT 0"),
        ("hosts", "prepared", "TEXT"),
        ("hosts", "lease_seconds", "INTEGER"),
    ),
    5: (
        ("hosts", "rental", "TEXT NOT NULL DEFAULT ''"),
        ("hosts", "identity", "TEXT NOT NULL DEFAULT ''"),
        ("hosts", "country", "TEXT NOT NULL DEFAULT ''"),
    ),
    6: (
        ("deployments", "policy", "TEXT"),
        ("deployments", "scaler", "TEXT"),
        ("deployments", "paused", "BOOLEAN NOT NULL DEFAULT 0"),
        ("deployments", "canary", "FLOAT"),
        ("deployments", "bake", "FLOAT NOT NULL DEFAULT 60"),
        ("deployments", "restart_before", "FLOAT"),
        ("releases", "active_at", "FLOAT"),
    ),
    7: (  # and the tables of placements and wakes
        ("replicas", "sleeps", "BOOLEAN NOT NULL DEFAULT 0"),
        ("replicas", "woken_at", "FLOAT"),
    ),
}
"""Columns (table, name, type) that a database of the version before lacks; not where its table was made just now."""

FILL: dict[int, tuple[str, ...]] = {
    6: (
        """
        UPDATE deployments SET
            policy = (
                SELECT json_object('minimum', json_extract(r.spec, '$.min_replicas'),
                                   'maximum', json_extract(r.spec, '$.max_replicas'))
                FROM releases r WHERE r.deployment = deployments.name
                AND r.number = coalesce(deployments.target, (SELECT max(number) FROM releases
                                                             WHERE deployment = deployments.name))),
            scaler = (
                SELECT json_object('desired', json_extract(r.spec, '$.min_replicas'))
                FROM releases r WHERE r.deployment = deployments.name AND r.number = deployments.target)
        WHERE policy IS NULL
        """,
        "UPDATE releases SET active_at = created_at WHERE state IN ('active', 'superseded')",
    ),
    # Machines were always given back before there was a policy for it: as after a deploy that says nothing of it.
    7: (
        """
        UPDATE deployments SET policy = json_set(policy, '$.idle_release', 1800.0)
        WHERE json_extract(policy, '$.idle_release') IS NULL AND name IN (SELECT deployment FROM rentals)
        """,
    ),
}
"""What those columns hold for what is there already."""

METADATA = MetaData()

META = Table("meta", METADATA, Column("name", String, primary_key=True), Column("value", Text, nullable=False))

DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    Column("name", String, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("target", Integer),
    Column("stopping", Boolean, nullable=False),
    Column("drain_timeout", Float, nullable=False),
    Column("surge", Boolean, nullable=False),
    Column("error", Text),
    Column("abandon", Boolean, nullable=False, server_default="0"),
    Column("policy", Text),
    Column("scaler", Text),
    Column("paused", Boolean, nullable=False, server_default="0"),
    Column("canary", Float),
    Column("bake", Float, nullable=False, server_default="60"),
    Column("restart_before", Float),
)

RELEASES = Table(
    "releases",
    METADATA,
    Column("deployment", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("spec_digest", String, nullable=False),
    Column("model", Text, nullable=False),
    Column("snapshot", String, nullable=False),
    Column("snapshot_path", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("error", Text),
    Column("reported", Text),
    Column("active_at", Float),
)

REPLICAS = Table(
    "replicas",
    METADATA,
    Column("id", String, primary_key=True),
    Column("deployment", String, nullable=False, index=True),
    Column("release", Integer, nullable=False),
    Column("host", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("socket", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", Float),
    Column("ready_at", Float),
    Column("drain_deadline", Float),
    Column("error", Text),
    Column("starts", Integer, nullable=False, server_default="1"),
    Column("devices", Text),
    Column("sleeps", Boolean, nullable=False, server_default="0"),
    Column("woken_at", Float),
)

PLACEMENTS = Table(
    "placements",
    METADATA,
    Column("id", String, primary_key=True),
    Column("deployment", String, nullable=False, index=True),
    Column("release", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("host", String),
    Column("plan", Text),
    Column("snapshot_path", Text),
    Column("image", Text),
    Column("error", Text),
    Column("retry_at", Float),
)

WAKES = Table(
    "wakes",
    METADATA,
    Column("deployment", String, primary_key=True),
    Column("release", Integer, primary_key=True),
    Column("step", String, primary_key=True),
    Column("at", Float, primary_key=True),
    Column("seconds", Float, nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String, primary_key=True),
    Column("deployment", String, nullable=False, index=True),
    Column("sha256", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)

OPERATIONS = Table(
    "operations",
    METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("deployment", String, nullable=False, index=True),
    Column("request", Text, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("result", Text),
    Column("error", Text),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("operation", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("data", Text, nullable=False),
)

HOSTS = Table(
    "hosts",
    METADATA,
    Column("name", String, primary_key=True),
    Column("address", Text, nullable=False),
    Column("port", Integer),
    Column("fingerprints", Text, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("facts", Text),
    Column("error", Text),
    Column("seen_at", Float),
    Column("prepared", Text),
    Column("lease_seconds", Integer),
    Column("rental", Text, nullable=False, server_default=""),
    Column("identity", Text, nullable=False, server_default=""),
    Column("country", Text, nullable=False, server_default=""),
)

RENTALS = Table(
    "rentals",
    METADATA,
    Column("run_id", String, primary_key=True),
    Column("provider", String, nullable=False),
    Column("deployment", String, nullable=False, index=True),
    Column("offer", Text, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("intended_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("granularity", Integer, nullable=False),
    Column("minimum", Integer, nullable=False),
    Column("machine", Text),
    Column("host", String),
    Column("address", Text),
    Column("port", Integer),
    Column("user", Text),
    Column("billed_from", Float),
    Column("billed_until", Float),
    Column("time_limit", Float),
    Column("reason", Text, nullable=False),
    Column("error", Text),
    Column("extra", Text, nullable=False),
    Column("notice_at", Float),
    Column("ready_at", Float),
    Column("per_million", Text),
)
"""Kept for good: they are the ledger."""

JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("deployment", String, nullable=False, index=True),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("cause", Text, nullable=False),
    Column("result", Text),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,  # no id ever comes twice: who has read up to one misses nothing after it
)
"""Goes with its deployment; of each, the newest few thousand stay."""

CHANGES = Table(
    "changes",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("deployment", String, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""The number of the last change of a table's rows of a deployment, for `lyc.store.mirror`. Numbers only rise: what is
gone keeps its line.
"""


def triggers() -> Iterator[str]:
    """Statements that make the database number its changes by itself."""
    mirrored = (DEPLOYMENTS, RELEASES, REPLICAS, KEYS, PLACEMENTS, RENTALS)
    for table in mirrored:
        name = "name" if table is DEPLOYMENTS else "deployment"
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            values = f"'{table.name}', {row}.{name}, (SELECT ifnull(max(number), 0) + 1 FROM changes)"  # noqa: S608 - names of tables, none typed in
            counted = "ON CONFLICT (kind, deployment) DO UPDATE SET number = excluded.number"
            made = f"CREATE TRIGGER IF NOT EXISTS {table.name}_{event.lower()} AFTER {event} ON {table.name}"
            yield f"{made} BEGIN INSERT INTO changes (kind, deployment, number) VALUES ({values}) {counted}; END"  # noqa: S608


OF_DEPLOYMENTS = (RELEASES, REPLICAS, KEYS, JOURNAL, PLACEMENTS, WAKES)
"""What goes with its deployment."""
