"""A release that is there already on one more machine, rented for it by the wish that its deploy had."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from lyc.control.deps import Deps
from lyc.control.layout import kept_credentials
from lyc.control.limits import Limits, time_limit
from lyc.control.operations import Talk
from lyc.control.preparation import Preparation, Prepared, Provided
from lyc.control.renting import Renter
from lyc.errors import Failed, LycError
from lyc.records.deployment import DeploymentSpec, Release
from lyc.records.host import RENT
from lyc.records.plan import Plan
from lyc.renting.budget import Level


@dataclass(frozen=True, slots=True)
class Settled:
    """The release on that host, where all that its engine needs is there now; fields as of a `Placement`. digest: of
    its spec there. surge: whether a new release has room there beside this one.
    """

    host: str
    plan: Plan
    snapshot_path: str
    image: str | None
    digest: str = ""
    surge: bool = True


RentFor = Callable[[Release, Talk, Callable[[], None], Collection[str]], Settled]
"""See `rent_for`: release, talk, cancelled, taken."""


@dataclass(frozen=True, slots=True)
class RentsFor:
    """`rent_for` for whoever does not know what it takes."""

    deps: Deps
    renter: Renter

    def __call__(
        self, release: Release, talk: Talk, cancelled: Callable[[], None], taken: Collection[str] = ()
    ) -> Settled:
        """See `rent_for`."""
        return rent_for(self.deps, self.renter, release, talk, cancelled, taken=taken)


def rent_for(
    deps: Deps,
    renter: Renter,
    release: Release,
    talk: Talk,
    cancelled: Callable[[], None],
    *,
    taken: Collection[str] = (),
) -> Settled:
    """Rent by the release's own wish (residency, price, owner, providers), and bring all there that its engine needs.

    May be killed and called again: a machine that was rented for this deployment and that is of no other use is taken
    before another is ordered. taken: hosts that have another use. Only one at a time for each deployment: the caller
    holds `renter.turn`. cancelled: raises when it is not wanted any more; the machine then goes back.

    Raises Failed `budget-spent`, `time-is-up`, `weights-changed`, and what a deploy raises: NoFit `no-capacity` …
    """
    until = check_limits(deps, release)
    credentials = kept_credentials(deps.settings, release.deployment)
    preparation = Preparation(
        deps, renter, like(release, RENT), credentials, talk, freed=0, taken=frozenset(taken), until=until
    )
    prepared = preparation.decide(cancelled)
    try:
        provided = preparation.provide(prepared, cancelled, release.spec.image)
        cancelled()
        digest = preparation.digest(prepared, replace(release.spec, host=prepared.spec.host))
        return settled(release, prepared, provided, digest)
    except LycError as error:
        _give_back(deps, renter, release.deployment, prepared.spec.host, error)
        raise


def like(release: Release, host: str) -> DeploymentSpec:
    """What another host has to be able to do: the same model, the same kind of engine, and a context as long, since who
    sends as much as ever must not be refused there.
    """
    gpu = "cpu" if release.plan.engine.on_cpu else release.spec.gpu
    return replace(release.spec, model=release.model, gpu=gpu, max_model_len=release.plan.max_model_len, host=host)


def settled(release: Release, prepared: Prepared, provided: Provided, digest: str) -> Settled:
    """Raises Failed `weights-changed` where the source has other ones by now."""
    if provided.model.digest != release.snapshot:
        raise Failed(
            "weights-changed",
            f"{release.model} is not any more what release {release.number} of {release.deployment} was made of",
            hint=f"make a new release of it: lyc deploy {release.spec.model} --name {release.deployment}",
        )
    plan, path = provided.plan(prepared.plan), str(provided.model.path)
    return Settled(prepared.spec.host, plan, path, provided.image, digest, prepared.surge)


def check_limits(deps: Deps, release: Release) -> float | None:
    """When it shall go at the latest (`--ttl`). Raises Failed `time-is-up`, and `budget-spent`: what no person asks for
    just now keeps to the budget.
    """
    until = time_limit(deps.store, deps.store.deployment(release.deployment), release)
    if until is not None and until <= deps.clock():
        raise Failed("time-is-up", f"the time of {release.deployment} is up (--ttl)", hint="lyc ls")
    standing = Limits(deps, lambda _: None).standing()
    if standing is not None and standing.level is Level.EXCEEDED:
        limit = standing.budget.limit
        raise Failed(
            "budget-spent",
            f"nothing is rented for {release.deployment}",
            why=f"the budget of {limit.amount} {limit.currency} a {standing.budget.period} is spent",
            hint="lyc budget",
        )
    return until


def _give_back(deps: Deps, renter: Renter, deployment: str, host: str, error: LycError) -> None:
    for rental in deps.store.rentals(deployment=deployment, open_only=True):
        if rental.host == host:
            renter.release(rental, error.ref, error)
