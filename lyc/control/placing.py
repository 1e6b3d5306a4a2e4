"""Where a deployment goes: a machine looked at, checked and planned for; of several, the one that holds the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lyc.control.deps import Deps
from lyc.control.host_plans import held_on, plans_on
from lyc.control.idling import own as is_own
from lyc.control.kept import deploying, kept
from lyc.control.residency import check_host
from lyc.control.share_plan import by_swapping
from lyc.engines import architectures, options, quantization, speculative, versions
from lyc.engines.preflight import Needs, preflight, refuse
from lyc.engines.preflight_system import room
from lyc.errors import Failed, LycError, NoFit, NotFound
from lyc.planning.host import host_facts, plan, surge_fits
from lyc.planning.host import place as place_again
from lyc.ports import Source
from lyc.records.deployment import CONTAINER, DeploymentSpec, Release, ReplicaState
from lyc.records.host import ANY, LOCAL, Host, KnownHost, RemoteFacts
from lyc.records.model import Listing, ModelFacts, Snapshot
from lyc.records.plan import EngineBuild, HostFacts, Plan
from lyc.rollout.transitions import ENDED, RUNNING
from lyc.store import Store
from lyc.units import show_bytes

REACHED_SECONDS = 600.0
"""So long it is believed what a host reaches: to ask where nothing answers would hold every deploy up."""
AT_ONCE = 8
_THERE = frozenset(ReplicaState) - ENDED


@dataclass(frozen=True, slots=True)
class Found:
    """A model resolved and inspected, its weights not yet here."""

    source: Source
    listing: Listing
    facts: ModelFacts


@dataclass(frozen=True, slots=True)
class Placed:
    """A machine that can serve. surge: whether a new replica has room beside the old ones. holds: whether the weights
    are there. free: bytes of memory that are free for engines, on its cards or of its own.
    """

    host: str
    plan: Plan
    surge: bool
    holds: bool
    free: int


class Placing:
    """Of one deployment on one machine, that of its spec. freed: bytes that replicas it replaces would give back, of
    which those on this machine count. say: hears what was done to a host meanwhile. dry: nothing is; it hears what
    would be.
    """

    def __init__(
        self, deps: Deps, spec: DeploymentSpec, *, freed: int, say: Callable[[str], None], dry: bool = False
    ) -> None:
        self._say = say
        self._dry = dry
        self._deps = deps
        self._spec = spec
        self._site = deps.sites.site(spec.host)
        mine = plans_on(deps.store, spec.host, of=lambda name: name == spec.name)
        self._freed = min(freed, sum(planned.memory_bytes or 0 for _, planned in mine))
        self._contained = spec.runtime == CONTAINER

    def place(self, model: Found, draft: Found | None) -> Placed:
        """Raises Failed `host-unfit`, NoFit, and what looking at a host raises."""
        spec = self._spec
        check_host(self._deps, spec)
        host = self._site.probe.facts() if spec.host == LOCAL else self._looked_at(model, draft)
        planned = self._plan(model.facts, draft.facts if draft else None, host)
        surge = surge_fits(planned, host, holding=held_on(self._deps.store, spec.host)[0])
        free = sum(card.memory_free for card in host.accelerators) or host.memory_available
        return Placed(spec.host, planned, surge, self._have(model) is not None, free)

    def _looked_at(self, model: Found, draft: Found | None) -> HostFacts:
        """The host as it is now. Raises Failed `host-unfit` for what no plan can mend."""
        spec, store = self._spec, self._deps.store
        known = store.host(spec.host)
        host, before = known.host, known.facts
        fresh = before is None or self._deps.clock() - before.looked_at > REACHED_SECONDS
        found = self._deps.hosts.look(host, reach=fresh)
        if before is not None and not fresh:
            found = dataclasses.replace(found, reaches=before.reaches)
        store.saw_host(KnownHost(host, found, None, found.looked_at))
        facts = host_facts(spec.host, found)
        build = self._build(facts)
        if self._contained:
            versions.image(build, spec.image)
        there = {one.listing.key: self._have(one) for one in (model, draft) if one}
        needs = Needs(
            # Cards that do not answer are told of, unless the CPU was asked for: else nobody would miss them.
            engine=build if spec.gpu == "cpu" or found.accelerators else None,
            weights=sum(one.listing.size for one in (model, draft) if one and not there[one.listing.key]),
            model=spec.model,
            container=self._contained,
            installed=self._installed(build),
        )
        needed = room(build, needs.weights, installed=needs.installed or needs.container)
        own = [one.digest for one in there.values() if one]
        freed = self._make_room(host, found, needed, own, build)
        if freed and self._dry:
            found = _roomier(found, freed)
        elif freed is not None:
            found = dataclasses.replace(self._deps.hosts.look(host, reach=False), reaches=found.reaches)
            store.saw_host(KnownHost(host, found, None, found.looked_at))
            facts = host_facts(spec.host, found)
        refuse(spec.host, preflight(spec.host, found, needs))
        return facts

    def _make_room(
        self, host: Host, found: RemoteFacts, needed: int, own: Sequence[str], build: EngineBuild
    ) -> int | None:
        """Remove what nobody needs from a host that is short of `needed` bytes, the longest unused first. own: digests
        of snapshots, and build: the engine, that this deploy needs itself. Bytes that were freed; None = nothing was
        tried. 0 says little: while this waited for its turn there, another controller may have made room.
        """
        store = self._deps.store
        short = found.place is not None and found.place.free < needed
        if not short or store.prepared(host.name) is None or deploying(store, host.name, but=self._spec.name):
            return None
        snapshots, engines = kept(store, host.name)
        pruned = self._deps.upkeep.prune(host, [*snapshots, *own], [*engines, build.id], free=needed, dry_run=self._dry)
        done = "would be removed" if self._dry else "removed"
        for one in pruned:
            self._say(f"{done} from {host.name}, to make room: {one.kind} {one.name}, {show_bytes(one.bytes)}")
        return sum(one.bytes for one in pruned)

    def _have(self, found: Found) -> Snapshot | None:
        try:
            return self._site.cache.have(found.listing)
        except Failed:  # never prepared: nothing is there
            return None

    def _installed(self, build: EngineBuild) -> bool:
        if self._contained:  # no environment is, and the image lies where its runtime keeps images
            return False
        try:
            return self._site.installer.bin_dir(build) is not None
        except Failed:
            return False

    def _build(self, host: HostFacts) -> EngineBuild:
        return versions.pinned(on_cpu=self._spec.gpu == "cpu" or (self._spec.gpu == "auto" and not host.accelerators))

    def _plan(self, facts: ModelFacts, draft: ModelFacts | None, host: HostFacts) -> Plan:
        spec = self._spec
        build = self._build(host)
        architectures.check(facts, build)
        options.check(spec.engine_args, build)
        options.check_env(spec.env)
        quantization.check(spec.quantization, facts, host, build)
        there = self._site.installer.distributions(build) if self._installed(build) else frozenset()
        speculative.check(spec.speculative, facts, draft, build, there)
        taken, holders = held_on(self._deps.store, spec.host, of=lambda name: name != spec.name)
        own, _ = held_on(self._deps.store, spec.host, of=lambda name: name == spec.name)
        others = taken if spec.host != LOCAL else None  # here the engine takes the first cards, unless some are named
        try:
            planned = plan(
                spec, facts, host, draft=draft, build=build, freed=self._freed, taken=others, own=own, holders=holders
            )
        except NoFit as problem:
            if problem.ref != "gpu-busy" or not is_own(self._deps.store, spec.host):
                raise
            swapped = by_swapping(
                self._deps.store, spec, host, self._deps.clock(),
                lambda named, facts_then, taken, names: plan(
                    named, facts, facts_then, draft=draft, build=build, freed=self._freed, taken=taken, own=own,
                    holders=names,
                ),
            )  # fmt: skip
            if swapped is None:
                raise
            planned = swapped
        return dataclasses.replace(planned, task=_task(spec, facts))


def devices_for(store: Store, release: Release, host: str, planned: Plan) -> tuple[int, ...] | None:
    """Cards for one more replica of a release on a host, where `planned` is its plan: those of the plan, unless another
    replica has them already. Cards that the user named are taken as they are.
    """
    if planned.devices is None or host == LOCAL or release.spec.gpus is not None:
        return planned.devices
    taken, _ = held_on(store, host, states=_THERE)
    try:
        facts = store.host(host).facts
    except NotFound:  # a rented machine that is gone: whoever is started there is told so
        return planned.devices
    if facts is None or not set(planned.devices) & set(taken):
        return planned.devices
    return place_again(planned, host_facts(host, facts), taken=taken) or planned.devices


def beside(deps: Deps, release: Release) -> bool | None:
    """Whether one more replica of a release has room beside all that run on its host now; None where its host was never
    looked at. Raises NotFound `no-such-host`.
    """
    name, store = release.spec.host, deps.store
    known = None if name == LOCAL else store.host(name).facts
    if name != LOCAL and known is None:
        return None
    facts = deps.sites.site(name).probe.facts() if known is None else host_facts(name, known)
    devices = devices_for(store, release, name, release.plan)
    return surge_fits(dataclasses.replace(release.plan, devices=devices), facts, holding=held_on(store, name)[0])


def place(
    deps: Deps,
    spec: DeploymentSpec,
    model: Found,
    draft: Found | None,
    *,
    freed: int,
    say: Callable[[str], None],
    own: bool = False,
    dry: bool = False,
) -> Placed:
    """On the machine that the spec names; for `any`, on the known host where the deployment is already, else on the one
    that holds the weights, else on the one with the most memory free. own: of `any`, rented ones are left out. Raises
    what `Placing.place` does, and NoFit `no-host-fits`.
    """
    if spec.host != ANY:
        return Placing(deps, spec, freed=freed, say=say, dry=dry).place(model, draft)
    names = [known.host.name for known in deps.store.hosts() if known.host.own or not own]
    return place_among(deps, spec, names, model, draft, freed=freed, say=say, dry=dry)


def place_among(
    deps: Deps,
    spec: DeploymentSpec,
    names: Sequence[str],
    model: Found,
    draft: Found | None,
    *,
    freed: int,
    say: Callable[[str], None],
    like: Plan | None = None,
    dry: bool = False,
) -> Placed:
    """As `place` on the best of these hosts. like: a plan that serves already, and the new one stands in for: with the
    same kind of engine.
    """
    if not names:
        raise NoFit("no-host-fits", "no host is known", where="--host any", hint="lyc hosts add user@box")

    def tried(name: str) -> Placed | LycError:
        try:
            there = dataclasses.replace(spec, host=name)
            found = Placing(deps, there, freed=freed, say=say, dry=dry).place(model, draft)
            _alike(found, like)
            return found
        except LycError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="place") as pool:
        results = dict(zip(names, pool.map(tried, names), strict=True))
    fitting = [result for result in results.values() if isinstance(result, Placed)]
    if not fitting:
        raise NoFit(
            "no-host-fits",
            f"none of {len(names)} known hosts can serve {spec.model}",
            where="--host any",
            hint=f"lyc hosts check {names[0]} MODEL",
            detail=tuple(f"{name}: {error}" for name, error in results.items()),
        )
    serving = {one.host for one in deps.store.replicas(spec.name) if one.state in RUNNING}
    return max(fitting, key=lambda one: (one.host in serving, one.holds, one.surge, one.free))


def _alike(found: Placed, like: Plan | None) -> None:
    if like is not None and found.plan.engine.on_cpu != like.engine.on_cpu:
        raise NoFit(
            "other-kind-of-engine",
            f"{found.host} has {'no GPU' if found.plan.engine.on_cpu else 'GPUs'}",
            why=f"the others of its kind run on {like.accelerator}",
        )


def _roomier(found: RemoteFacts, freed: int) -> RemoteFacts:
    """As it would be found with so many bytes more on the disk of lyc's folder."""
    disks = (dataclasses.replace(one, free=one.free + freed) if one == found.place else one for one in found.disks)
    return dataclasses.replace(found, disks=tuple(disks))


def _task(spec: DeploymentSpec, facts: ModelFacts) -> str:
    """What the model is served for: what its architecture is for, unless the user names vLLM's runner."""
    natural = architectures.task(facts)
    match spec.engine_args.get("runner"):
        case "generate":
            return "generate"
        case "pooling" if natural == "generate":
            return "embed"
    return natural
