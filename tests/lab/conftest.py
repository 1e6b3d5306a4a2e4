"""The lab's own tests use it as others do."""

from __future__ import annotations

from tests.lab.fixtures import container_machines, engine_machines, lab, machine, machines

__all__ = ["container_machines", "engine_machines", "lab", "machine", "machines"]
