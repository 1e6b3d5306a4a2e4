"""The first half of a deploy: from a spec to all that a release needs, weights and engine included.

resolve → inspect → plan → install the engine → fetch. Every step may be run again; what is there already costs nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lyc.control.deps import Deps
from lyc.control.operations import Talk
from lyc.engines import architectures, options, quantization, speculative, versions
from lyc.engines.preflight import Needs, preflight, refuse
from lyc.errors import Failed
from lyc.inspection import inspect
from lyc.planning.host import held, host_facts, plan, surge_fits
from lyc.ports import ByteProgress, Source
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import KnownHost
from lyc.records.model import Listing, ModelFacts, ModelRef, Snapshot
from lyc.records.plan import EngineBuild, HostFacts, Plan
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.records.secret import Secret
from lyc.rollout.transitions import RUNNING
from lyc.sources import reader
from lyc.spec.model_ref import parse_model
from lyc.units import show_bytes

LOCAL = "local"
REACHED_SECONDS = 600.0
"""So long it is believed what a host reaches: to ask where nothing answers would hold every deploy up."""
Cancelled = Callable[[], None]
"""Raises when the deploy is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model resolved and inspected, its weights not yet here."""

    source: Source
    listing: Listing
    facts: ModelFacts


@dataclass(frozen=True, slots=True)
class Prepared:
    """Decided, but for the weights. digest: equal for wishes that need no new release."""

    spec: DeploymentSpec
    model: Found
    draft: Found | None
    plan: Plan
    surge: bool
    digest: str


class Preparation:
    """Does the steps for one spec, telling `talk`. freed: bytes that replicas it replaces would give back."""

    def __init__(
        self, deps: Deps, spec: DeploymentSpec, credentials: Mapping[str, Secret], talk: Talk, *, freed: int
    ) -> None:
        self._deps = deps
        self._site = deps.sites.site(spec.host)
        self._freed = freed
        self._spec = spec
        self._credentials = credentials
        self._talk = talk

    def decide(self) -> Prepared:
        """Resolve, inspect, plan. Raises before anything is downloaded or started."""
        spec, wish = self._spec, self._spec.speculative
        with self._talk.during(Phase.RESOLVE, spec.model) as said:
            model_source, model_listing = self._resolve(spec.model)
            drafts = self._resolve(wish.model) if wish and wish.model else None
            said.append(f"{model_listing.ref} {_short(model_listing.ref)} {show_bytes(model_listing.size)}".strip())
        with self._talk.during(Phase.INSPECT) as said:
            model = self._inspect(model_source, model_listing)
            draft = self._inspect(*drafts) if drafts else None
            host = self._site.probe.facts() if spec.host == LOCAL else self._looked_at(model, draft)
            planned = self._plan(model.facts, draft.facts if draft else None, host)
            said.append(_describe(model.facts, planned))
        for warning in planned.warnings:
            self._talk.warn(warning)
        surge = surge_fits(planned, host, holding=self._held(lambda _: True)[0])
        return Prepared(spec, model, draft, planned, surge, self._digest(model, draft, planned))

    def provide(self, prepared: Prepared, cancelled: Cancelled) -> tuple[Snapshot, Snapshot | None]:
        """All that the engine needs, on the machine where it will run: the model's snapshot there, and its draft's.

        Quick where everything is there already. Nobody else changes the machine meanwhile.
        """
        if self._site.name != LOCAL:
            with self._talk.during(Phase.PREPARE, self._site.name):
                self._site.prepare(self._say(Phase.PREPARE))
        with self._site.working(f"deploying {self._spec.name}"):
            self._install(prepared)
            return self._fetch_all(prepared, cancelled)

    def _install(self, prepared: Prepared) -> None:
        """Make the engine environment complete."""
        build = prepared.plan.engine
        if self._site.installer.bin_dir(build) is not None:
            return
        with self._talk.during(Phase.INSTALL, f"{build.distribution} {build.version}"):
            self._site.installer.install(build, self._say(Phase.INSTALL))

    def _fetch_all(self, prepared: Prepared, cancelled: Cancelled) -> tuple[Snapshot, Snapshot | None]:
        """The weights of the model and of its draft, in the cache and verified."""
        with self._talk.during(Phase.FETCH) as said:
            model = self._fetch(prepared.model, cancelled)
            draft = self._fetch(prepared.draft, cancelled) if prepared.draft else None
            said.append(f"{show_bytes(model.size)} {model.digest[:19]}")
        return model, draft

    def _resolve(self, written: str) -> tuple[Source, Listing]:
        ref = parse_model(written, cwd=Path("/"), is_dir=Path.is_dir)
        source = self._deps.open_source(
            ref,
            self._credentials,
            self._spec.s3_endpoint,
            hashing=self._bytes(Phase.RESOLVE, "hashing"),
            say=self._say(Phase.INSPECT),
        )
        return source, source.resolve(ref)

    def _inspect(self, source: Source, listing: Listing) -> Found:
        """The facts; out of the cache if the model is there, else by a few small reads of the source."""
        here = self._deps.sites.site(LOCAL).cache.have(listing)
        return Found(source, listing, inspect(listing, reader(source, listing, here)))

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
        needs = Needs(
            # Cards that do not answer are told of, unless the CPU was asked for: else nobody would miss them.
            engine=build if spec.gpu == "cpu" or found.accelerators else None,
            weights=sum(one.listing.size for one in (model, draft) if one and not self._there(one)),
            model=spec.model,
            container=spec.runtime == "container",
            installed=self._installed(build),
        )
        refuse(spec.host, preflight(spec.host, found, needs))
        return facts

    def _there(self, found: Found) -> bool:
        try:
            return self._site.cache.have(found.listing) is not None
        except Failed:  # never prepared: nothing is there
            return False

    def _installed(self, build: EngineBuild) -> bool:
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
        taken, holders = self._held(lambda name: name != spec.name)
        own, _ = self._held(lambda name: name == spec.name)
        others = taken if spec.host != LOCAL else None  # here the engine takes the first cards, unless some are named
        planned = plan(
            spec, facts, host, draft=draft, build=build, freed=self._freed, taken=others, own=own, holders=holders
        )
        return dataclasses.replace(planned, task=_task(spec, facts))

    def _held(self, which: Callable[[str], bool]) -> tuple[dict[int, int], dict[int, tuple[str, ...]]]:
        """What replicas of those deployments hold of the cards of the host: see `held`."""
        store = self._deps.store
        running: list[tuple[str, Plan]] = []
        for deployment in store.deployments():
            if which(deployment.name):
                plans = {release.number: release.plan for release in store.releases(deployment.name)}
                replicas = [one for one in store.replicas(deployment.name) if one.host == self._spec.host]
                running += [(deployment.name, plans[one.release]) for one in replicas if one.state in RUNNING]
        return held(running)

    def _digest(self, model: Found, draft: Found | None, planned: Plan) -> str:
        """Over everything that distinguishes releases: the spec, what its references point at now, and the engine."""
        written = dataclasses.asdict(self._spec) | {
            "model": str(model.listing.ref),
            "revision": model.listing.ref.revision,
            "draft": draft.listing.ref.revision if draft else None,
            "engine": planned.engine.id,
        }
        return hashlib.sha256(json.dumps(written, sort_keys=True, default=str).encode()).hexdigest()

    def _fetch(self, found: Found, cancelled: Cancelled) -> Snapshot:
        tell = self._bytes(Phase.FETCH)

        def progress(done: int, total: int) -> None:
            cancelled()
            tell(done, total)

        return self._site.cache.snapshot(found.source, found.listing, progress, self._talk.warn)

    def _bytes(self, phase: Phase, message: str = "") -> ByteProgress:
        return lambda done, total: self._talk.phase(
            PhaseEvent(phase, PhaseStatus.PROGRESS, message, done=done, total=total)
        )

    def _say(self, phase: Phase) -> Callable[[str], None]:
        return lambda line: self._talk.phase(PhaseEvent(phase, PhaseStatus.PROGRESS, line))


def _task(spec: DeploymentSpec, facts: ModelFacts) -> str:
    """What the model is served for: what its architecture is for, unless the user names vLLM's runner."""
    natural = architectures.task(facts)
    match spec.engine_args.get("runner"):
        case "generate":
            return "generate"
        case "pooling" if natural == "generate":
            return "embed"
    return natural


def _short(ref: ModelRef) -> str:
    return f"@ {ref.revision[:19]}" if ref.revision else ""


def _describe(facts: ModelFacts, planned: Plan) -> str:
    parts = [*facts.architectures, facts.quantization or facts.dtype or ""]
    if facts.weights_bytes:
        parts.append(f"{show_bytes(facts.weights_bytes)} of weights")
    if planned.max_model_len:
        parts.append(f"context {planned.max_model_len}")
    if (foretold := planned.forecast) is not None and planned.task == "generate":
        parts.append(f"KV cache for {foretold.kv_tokens} tokens ({foretold.concurrency:.1f} requests of full length)")
    cards = f"{planned.accelerator_count} × " if planned.accelerator_count > 1 else ""
    parts.append(f"{planned.engine.distribution} {planned.engine.version} on {cards}{planned.accelerator}")
    return ", ".join(part for part in parts if part)
