"""What must survive: desired state, releases, replicas, keys (as hashes), operations. SQLite in WAL mode."""

from lyc.store.store import Store

__all__ = ["Store"]
