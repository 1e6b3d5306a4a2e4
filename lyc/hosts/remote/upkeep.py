"""What is done to a host as a whole: `lyc.ports.Upkeep`, over the agent there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lyc.errors import Failed
from lyc.hosts.remote.site import RemoteSite
from lyc.records.host import Host, HostLease, HostLock, HostUse, Pruned

PRUNE_SECONDS = 600.0


class HostUpkeep:
    """Implements `lyc.ports.Upkeep`. site: of a host."""

    def __init__(self, site: Callable[[str], RemoteSite]) -> None:
        self._site = site

    def use(self, host: Host) -> HostUse:
        """See the port."""
        site = self._site(host.name)
        agent, owner = site.reach.agent(), site.controller.owner
        said = agent.call("use", request={"owner": owner})
        lock, lease = said["lock"], said["lease"]
        return HostUse(
            root=str(agent.root),
            mode=site.reach.prepared().mode,
            lock=HostLock(**lock, ours=lock["owner"] == owner) if lock else None,
            lease=HostLease(int(lease["seconds"]), lease["action"], float(lease["left"])) if lease else None,
            engines={str(name): int(size) for name, size in said["engines"].items()},
            snapshots=int(said["snapshots"]),
            weights=int(said["weights"]),
            processes={str(name): str(state) for name, state in said["processes"].items()},
            others=int(said["others"]),
        )

    def prepare(self, host: Host, say: Callable[[str], None]) -> bool:
        """See the port."""
        return self._site(host.name).prepare(say)

    def unlock(self, host: Host, *, force: bool) -> None:
        """See the port."""
        site = self._site(host.name)
        site.reach.agent().call("unlock", request={"owner": site.controller.owner, "force": force})

    def lease(self, host: Host, seconds: int | None, action: str) -> None:
        """See the port."""
        try:
            agent = self._site(host.name).reach.agent()
        except Failed as error:
            if error.ref == "host-not-prepared":
                return
            raise
        agent.call("lease", request={"seconds": seconds, "action": action})

    def prune(
        self, host: Host, keep: Sequence[str], engines: Sequence[str], *, free: int | None, dry_run: bool
    ) -> tuple[Pruned, ...]:
        """See the port."""
        site = self._site(host.name)
        request = {"keep": list(keep), "engines": list(engines), "free": free, "dry_run": dry_run}
        with site.working("pruning"):
            said = site.reach.agent().call("prune", request=request, timeout=PRUNE_SECONDS)
        return tuple(Pruned(str(one["kind"]), str(one["name"]), int(one["bytes"])) for one in said["removed"])

    def purge(self, host: Host, *, force: bool, say: Callable[[str], None]) -> None:
        """See the port."""
        self._site(host.name).purge(say, force=force)
