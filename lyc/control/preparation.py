"""The first half of a deploy: from a spec to all that a release needs, weights and engine included.

resolve → inspect → plan → install the engine → fetch. Every step may be run again; what is there already costs nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lyc.control.deps import Deps
from lyc.control.operations import Talk
from lyc.control.placing import Found, Placed, place, place_among
from lyc.control.rented import Question, RentedPlacing
from lyc.control.renting import Renter
from lyc.control.residency import check_here
from lyc.engines import versions
from lyc.inspection import inspect
from lyc.ports import ByteProgress, Site, Source
from lyc.records.deployment import CONTAINER, DeploymentSpec
from lyc.records.host import LOCAL, RENT
from lyc.records.model import Listing, ModelFacts, ModelRef, Snapshot
from lyc.records.plan import Plan
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.records.rental import Rental
from lyc.records.secret import Secret
from lyc.renting.choice import Candidate
from lyc.sources import reader
from lyc.spec.model_ref import parse_model
from lyc.units import show_bytes

Cancelled = Callable[[], None]
"""Raises when the deploy is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Decided, but for the weights. digest: equal for wishes that need no new release."""

    spec: DeploymentSpec
    model: Found
    draft: Found | None
    plan: Plan
    surge: bool
    digest: str


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a deploy would come to. where: a machine that is there, one that is rented and comes up yet, or an offer to
    be taken. prepared: None where the machine is not there yet.
    """

    model: Found
    draft: Found | None
    where: Placed | Rental | Candidate
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class Provided:
    """What is there now. image: of the container, pinned; None where the engine runs in none."""

    model: Snapshot
    draft: Snapshot | None
    image: str | None

    def plan(self, planned: Plan) -> Plan:
        """What was planned, with the draft where it lies."""
        return dataclasses.replace(planned, speculative_model=str(self.draft.path) if self.draft else None)


class Preparation:
    """Does the steps for one spec, telling `talk`. freed: bytes that replicas it replaces would give back. offer: what
    to rent, where something is to be rented and a person has chosen. taken, until, dry: as in `Question`.
    """

    def __init__(
        self,
        deps: Deps,
        renter: Renter,
        spec: DeploymentSpec,
        credentials: Mapping[str, Secret],
        talk: Talk,
        *,
        freed: int,
        offer: tuple[str, str] | None = None,
        taken: frozenset[str] = frozenset(),
        until: float | None = None,
        dry: bool = False,
    ) -> None:
        self._deps = deps
        self._dry = dry
        self._renter = renter
        self._offer = offer
        self._taken = taken
        self._until = until
        self._freed = freed
        self._spec = spec
        self._credentials = credentials
        self._talk = talk

    @property
    def _site(self) -> Site:
        """Of the host that was decided for."""
        return self._deps.sites.site(self._spec.host)

    def decide(self, cancelled: Cancelled) -> Prepared:
        """Resolve, inspect, plan, and rent where no machine was named. Raises before anything is downloaded or started;
        what was rented in vain goes back.
        """
        spec = self._spec
        model, draft, placed = self._inspected()
        if placed is None:
            with self._talk.during(Phase.RENT) as said:
                question = Question(spec, model, draft, self._freed, self._offer, taken=self._taken, until=self._until)
                placed = RentedPlacing(self._deps, self._renter, question, self._talk, cancelled).place()
                said.append(f"{placed.host}, {_sits(placed)}")
        self._spec = spec = dataclasses.replace(spec, host=placed.host)
        for warning in placed.plan.warnings:
            self._talk.warn(warning)
        return Prepared(spec, model, draft, placed.plan, placed.surge, self._digest(model, draft, placed.plan))

    def decide_among(self, hosts: Sequence[str], like: Plan) -> Prepared:
        """As `decide`, on the best of these hosts. like: the plan of a release that goes there too; see `place_among`.
        Raises NoFit `no-host-fits` with the reason of each.
        """
        model, draft = self._found()
        with self._talk.during(Phase.INSPECT) as said:
            placed = place_among(
                self._deps, self._spec, hosts, model, draft, freed=self._freed, say=self._talk.warn, like=like
            )
            said.append(_describe(model.facts, placed))
        self._spec = spec = dataclasses.replace(self._spec, host=placed.host)
        return Prepared(spec, model, draft, placed.plan, placed.surge, self._digest(model, draft, placed.plan))

    def foretold(self) -> Foretold:
        """What `decide` would come to, if the first that it tries will do; nothing is rented, installed or fetched.
        Raises as `decide` does.
        """
        spec = self._spec
        model, draft, placed = self._inspected()
        found: Placed | Rental | Candidate | None = placed
        if found is None:
            question = Question(spec, model, draft, self._freed, self._offer, taken=self._taken, dry=True)
            found = RentedPlacing(self._deps, self._renter, question, self._talk, _never).foretold()
        if not isinstance(found, Placed):
            return Foretold(model, draft, found, None)
        self._spec = spec = dataclasses.replace(spec, host=found.host)
        for warning in found.plan.warnings:
            self._talk.warn(warning)
        digest = self._digest(model, draft, found.plan)
        return Foretold(model, draft, found, Prepared(spec, model, draft, found.plan, found.surge, digest))

    def inspected(self) -> ModelFacts:
        """What the model is; nothing is planned, and nothing is said of where it could go."""
        return self._inspected()[0].facts

    def _inspected(self) -> tuple[Found, Found | None, Placed | None]:
        """The model and its draft, and where they go unless that is to be rented."""
        model_source, model_listing, drafts = self._resolved()
        with self._talk.during(Phase.INSPECT) as said:
            model = self._inspect(model_source, model_listing)
            draft = self._inspect(*drafts) if drafts else None
            placed = self._place(model, draft) if self._spec.host != RENT else None
            said.append(_describe(model.facts, placed))
        return model, draft, placed

    def _found(self) -> tuple[Found, Found | None]:
        """The model and its draft."""
        source, listing, drafts = self._resolved()
        return self._inspect(source, listing), self._inspect(*drafts) if drafts else None

    def _resolved(self) -> tuple[Source, Listing, tuple[Source, Listing] | None]:
        spec, wish = self._spec, self._spec.speculative
        check_here(self._deps, spec, self._credentials)
        with self._talk.during(Phase.RESOLVE, spec.model) as said:
            source, listing = self._resolve(spec.model)
            drafts = self._resolve(wish.model) if wish and wish.model else None
            said.append(f"{listing.ref} {_short(listing.ref)} {show_bytes(listing.size)}".strip())
        return source, listing, drafts

    def _place(self, model: Found, draft: Found | None) -> Placed:
        return place(self._deps, self._spec, model, draft, freed=self._freed, say=self._talk.warn, dry=self._dry)

    def provide(self, prepared: Prepared, cancelled: Cancelled, image: str | None = None) -> Provided:
        """All that the engine needs, on the machine where it will run.

        Quick where everything is there already. Nobody else changes the machine meanwhile. image: that of a release
        which is there already, in place of the one that is wished.
        """
        if self._site.name != LOCAL:
            with self._talk.during(Phase.PREPARE, self._site.name):
                self._site.prepare(self._say(Phase.PREPARE))
        with self._site.working(f"deploying {self._spec.name}"):
            pinned = self._pull(prepared, image) if prepared.spec.runtime == CONTAINER else None
            if pinned is None:
                self._install(prepared)
            return Provided(*self._fetch_all(prepared, cancelled), pinned)

    def _pull(self, prepared: Prepared, image: str | None) -> str:
        """Make the image be there, and say which it is."""
        build = prepared.plan.engine
        wanted = image or versions.image(build, prepared.spec.image)
        with self._talk.during(Phase.INSTALL, wanted):
            return self._site.images.provide(wanted, self._say(Phase.INSTALL), cards=not build.on_cpu)

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

    def digest(self, prepared: Prepared, spec: DeploymentSpec) -> str:
        """That of what was prepared, if `spec` had been written: it may say less than what was asked for here."""
        return self._digest(prepared.model, prepared.draft, prepared.plan, spec)

    def _digest(self, model: Found, draft: Found | None, planned: Plan, spec: DeploymentSpec | None = None) -> str:
        """Over everything that distinguishes releases: the spec, what its references point at now, and the engine."""
        written = dataclasses.asdict(spec or self._spec)
        del written["rent"]  # it says which machine may be taken; which one was is in the host's name
        del written["scale"]  # how many there are makes no other release
        written |= {
            "min_replicas": 1,  # as in the digests of releases from before there was a policy
            "max_replicas": 1,
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


def _never() -> None:
    """Nobody cancels what only looks."""


def _short(ref: ModelRef) -> str:
    return f"@ {ref.revision[:19]}" if ref.revision else ""


def _describe(facts: ModelFacts, placed: Placed | None) -> str:
    parts = [*facts.architectures, facts.quantization or facts.dtype or ""]
    if facts.weights_bytes:
        parts.append(f"{show_bytes(facts.weights_bytes)} of weights")
    return ", ".join([*(part for part in parts if part), *([_sits(placed)] if placed else [])])


def _sits(placed: Placed) -> str:
    """How the model sits on the machine that was found."""
    planned = placed.plan
    parts: list[str] = []
    if planned.max_model_len:
        parts.append(f"context {planned.max_model_len}")
    if (foretold := planned.forecast) is not None and planned.task == "generate":
        parts.append(f"KV cache for {foretold.kv_tokens} tokens ({foretold.concurrency:.1f} requests of full length)")
    cards = f"{planned.accelerator_count} × " if planned.accelerator_count > 1 else ""
    where = "" if placed.host == LOCAL else f" of {placed.host}"
    parts.append(f"{planned.engine.distribution} {planned.engine.version} on {cards}{planned.accelerator}{where}")
    return ", ".join(part for part in parts if part)
