"""What a look at a host over SSH found, as the planner takes it."""

from __future__ import annotations

from lyc.records.host import RemoteFacts
from lyc.records.plan import HostFacts


def host_facts(name: str, found: RemoteFacts) -> HostFacts:
    """What could not be told counts as nothing, so that nobody plans on it. disk_free: where lyc's folder goes."""
    place = found.place
    return HostFacts(
        name=name,
        os=found.os,
        machine=found.machine,
        cpus=found.cpus or 1,
        memory_total=found.memory_total or 0,
        memory_available=found.memory_available or 0,
        disk_free=place.free if place else 0,
        cpu_flags=found.cpu_flags,
        accelerators=found.accelerators,
        driver=found.driver,
    )
