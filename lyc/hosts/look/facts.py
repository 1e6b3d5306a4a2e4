"""The probe's output as `RemoteFacts`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lyc.hosts.look import cards, resources, system
from lyc.hosts.look.sections import Sections
from lyc.records.host import RemoteFacts


def parse(sections: Sections, urls: Sequence[str], *, sent: float, received: float) -> RemoteFacts:
    """What cannot be told is None or empty; nothing here raises, whatever the host printed.

    sent, received: our clock around the round trip, in epoch seconds.
    """
    identity = sections["identity"].values()
    name, identifier = system.release(sections["release"])
    groups = resources.levels(sections["groups"])
    total, available = resources.memory(sections["memory"], groups)
    accelerators, driver = cards.accelerators(sections["cards"])
    problem, status = cards.problem(sections["cards"], accelerators)
    runtimes, denied = system.runtimes(sections["docker"], sections["podman"])
    return RemoteFacts(
        hostname=identity.get("hostname", ""),
        os=name or identity.get("system", ""),
        kernel=identity.get("kernel", ""),
        machine=identity.get("machine", ""),
        user=identity.get("user", ""),
        home=identity.get("home", ""),
        boot_id=sections["boot"].text.strip() if sections["boot"].code == 0 else "",
        cpus=resources.cpus(sections["processors"], groups),
        memory_total=total,
        memory_available=available,
        disks=resources.disks(sections["disks"]),
        cpu_flags=resources.cpu_flags(sections["processors"]),
        libc=system.libc(sections["libc"]),
        accelerators=accelerators,
        processes=cards.processes(sections["apps"]),
        mig=cards.mig(sections),
        driver=driver or cards.driver_module(sections["module"]),
        cuda=cards.cuda(sections["cuda"]),
        systemd=system.systemd(sections["init"]),
        sudo=system.sudo(sections["rights"], identity),
        runtimes=runtimes,
        clock_skew=system.skew(sections["begin"], sections["end"], sent, received),
        reaches=system.reaches(sections["reach"], urls),
        missing=system.missing(sections["tools"]),
        system=identity.get("system", ""),
        os_id=identifier,
        cpu_model=resources.cpu_model(sections["processors"]),
        home_writable={"yes": True, "no": False}.get(identity.get("home_writable", "")),
        container=system.container(sections["container"]),
        gpu_problem=problem,
        gpu_status=status,
        gpus_seen=cards.seen(sections["pci"]),
        runtimes_denied=denied,
        toolkit=system.toolkit(sections["toolkit"]),
        looked_at=received,
        round_trip=received - sent,
    )
